"""Training of the joint base and the deconfounded model, with the same budget."""
