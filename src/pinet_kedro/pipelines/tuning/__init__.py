"""An Optuna study over the parameters of training, on the data of one environment."""
