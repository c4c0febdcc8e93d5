"""Typed configurations of transfer between head and tail; free of torch, so that they are read at no cost."""

from typing import Annotated, Literal

from pydantic import Field

from pinet_kedro.configuration import Configuration, Count


class SeparateConfig(Configuration):
    """No transfer: a backbone for head users and one for tail users, each from scratch (`transfer.py`)."""

    kind: Literal["separate"] = "separate"


class FineTuningConfig(Configuration):
    """The base trained further on head users, and on tail users (`transfer.py`)."""

    kind: Literal["fine_tuning"] = "fine_tuning"
    epochs: int = Field(12, ge=1, le=100_000, description="at most so many; validation keeps the best of 0, 1, …")
    learning_rate: float = Field(2e-4, gt=0, le=10)


class UserBranchConfig(Configuration):
    """What head users teach about a short history is added to the states of tail users (`user_branch.py`)."""

    kind: Literal["user_branch"] = "user_branch"
    hidden: Count = Field(128, description="width of the network's one hidden layer")
    epochs: int = Field(200, ge=1, le=100_000, description="passes over the head users")
    batch_users: Count = 64
    learning_rate: float = Field(3e-3, gt=0, le=10)
    weights: tuple[Annotated[float, Field(ge=0, le=1000)], ...] = Field(
        (0.25, 0.5, 1.0, 2.0, 4.0), description="tried beside 0 on validation"
    )


TransferConfig = Annotated[SeparateConfig | FineTuningConfig | UserBranchConfig, Field(discriminator="kind")]
