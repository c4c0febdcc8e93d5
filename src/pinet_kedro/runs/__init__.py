"""What happens around a `kedro run`: configuration, checks, lineage, the lock, the closing lines."""
