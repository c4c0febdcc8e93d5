"""What happens around a `kedro run`: configuration, checks, lineage, tracking, the last lines."""
