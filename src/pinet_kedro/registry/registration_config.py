"""Typed configuration of what is registered; free of torch and mlflow, which take seconds to import."""

from typing import Literal

from pydantic import Field

from pinet_kedro.configuration import Configuration


class Registration(Configuration):
    """Which model becomes a version."""

    backbone: Literal["auto", "deconfounded", "joint"] = Field(
        "auto",
        description="on which PIN stands: auto = the one trained by aggregation, unless validation shows that it is "
        "worse than the joint one",
    )
    refit: Literal["all", "none"] = Field(
        "all",
        description="all = the registered model has learnt the whole log; none = it is the evaluated one, which has "
        "learnt the training part alone",
    )
