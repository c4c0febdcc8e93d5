"""Pipelines at the times of a cron expression."""
