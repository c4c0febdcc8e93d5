"""From new files of interactions to a judged version."""
