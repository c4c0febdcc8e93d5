"""Promotion: a version is judged against the champion, and the aliases move or do not."""
