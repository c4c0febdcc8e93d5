"""Figures, pages, and text for console and tables."""
