"""The champion's counts brought up to date with what has come in since it was trained: between two trainings."""
