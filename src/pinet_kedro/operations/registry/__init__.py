"""The MLflow tracking server and its registry of models."""
