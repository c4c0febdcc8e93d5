"""An Optuna study of head against tail users."""
