"""Kedro datasets with manifests, the download of the default data, and files that are replaced as a whole."""
