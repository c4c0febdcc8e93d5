"""New partitions of interactions to a judged challenger: what a scheduler starts every night."""
