"""Methods x backbones x seeds, one stored cell at a time."""
