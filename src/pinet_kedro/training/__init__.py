"""Training of backbones and plugins."""
