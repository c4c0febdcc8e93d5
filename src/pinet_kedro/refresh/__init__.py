"""Between trainings: the champion with counts of what has come in since."""
