"""Sequence encoders, one per file; `backbone` has the interface that they share."""
