"""Clean events to the dataset of all later stages: sequences, their split, strata of users by activeness, items."""
