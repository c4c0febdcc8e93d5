"""Methods against the base over seeds, one stored cell at a time."""
