"""Several processes on one project: locks, identity, stopping, what they may send to a terminal."""
