"""Versions of the registered model: registration, digests, aliases; promotion and its gates."""
