"""Files of interactions -> raw columns with one reading: times in nanoseconds, one spelling of an id."""
