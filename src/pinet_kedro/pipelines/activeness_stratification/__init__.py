"""From clean events to the dataset of later stages: sequences, their split, strata of users by activeness, items."""
