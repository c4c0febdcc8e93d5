"""Comparison of methods with the base over several seeds, on the data of one environment."""
