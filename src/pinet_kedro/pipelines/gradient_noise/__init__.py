"""How many users make a stratum's gradient signal, on the data of one environment."""
