"""Batch inference for the users of the latest retraining."""
