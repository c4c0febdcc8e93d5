"""Runs pipelines at the times of a cron expression."""
