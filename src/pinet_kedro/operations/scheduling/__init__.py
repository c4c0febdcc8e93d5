"""A pipeline at its times."""
