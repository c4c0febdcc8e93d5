"""Files as raw columns, every row of them, and times in nanoseconds."""
