"""A log played back, period by period, through retraining."""
