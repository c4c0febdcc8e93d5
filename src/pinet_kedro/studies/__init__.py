"""Experiments around the method: tuning, benchmark, gradient noise, transfer. No registered version carries them."""
