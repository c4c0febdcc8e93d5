"""Files of interactions as raw columns: every row, times in nanoseconds, one spelling per id."""
