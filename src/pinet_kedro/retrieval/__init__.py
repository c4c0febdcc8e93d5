"""Two stages for large catalogues: candidates by approximate search, then the exact scores of those."""
