"""Processes beside each other: locks, identity, stopping."""
