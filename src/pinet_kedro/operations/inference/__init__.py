"""The champion at work: over HTTP, and for all users at once."""
