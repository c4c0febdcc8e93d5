"""How many users make a stratum's gradient signal."""
