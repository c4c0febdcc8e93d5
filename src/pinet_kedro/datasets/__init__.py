"""Kedro datasets with their manifests, and files that are there whole or not at all."""
