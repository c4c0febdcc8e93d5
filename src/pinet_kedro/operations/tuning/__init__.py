"""A study over the parameters of training, by Optuna: stopped, resumed and shared by workers as one likes."""
