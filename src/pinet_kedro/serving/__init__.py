"""Recommendations over HTTP and in batches."""
