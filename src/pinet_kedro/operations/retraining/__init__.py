"""New files of interactions become a new version, night after night."""
