"""Other answers to the long tail: head and tail users with a scorer each."""
