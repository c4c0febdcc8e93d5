"""The joint base and the deconfounded model, under one budget."""
