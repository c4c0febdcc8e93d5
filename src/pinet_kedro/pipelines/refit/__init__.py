"""The refit of the base and of PIN, and of the model that ships."""
