"""Typed configuration of tracking and registry; free of mlflow, which takes seconds to import."""

from pinet_kedro.configuration import Configuration


class Tracking(Configuration):
    """Where runs and model versions are kept."""

    uri: str = "sqlite:///mlflow.db"
    experiment: str = "pinet"
    model: str = "pinet"
