"""The gates of Great Expectations and their pages."""
