"""Several processes on one project: locks, identity, stopping."""
