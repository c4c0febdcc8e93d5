"""Losses of next-item prediction: one family per file."""
