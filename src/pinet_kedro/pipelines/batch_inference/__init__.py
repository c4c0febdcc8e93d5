"""The champion's best items for every user, as a table."""
