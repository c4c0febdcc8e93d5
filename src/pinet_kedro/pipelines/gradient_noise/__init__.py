"""How many users a stratum needs for a clear gradient, on the data of one environment."""
