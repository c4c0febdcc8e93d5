"""Figures, pages, and the text of the console."""
