"""MLflow runs, and what is recorded of them."""
