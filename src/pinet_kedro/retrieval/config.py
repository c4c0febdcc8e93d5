"""Typed configuration of two-stage recommendation; free of torch and Faiss."""

from importlib.util import find_spec
from typing import Annotated, Self

from pydantic import Field, model_validator

from pinet_kedro.configuration import LARGEST, Configuration, Count

Share = Annotated[float, Field(gt=0, le=1)]


NEEDS_FAISS = "two-stage recommendation needs Faiss. Install it: pip install 'pinet-kedro[retrieval]'"


class TwoStage(Configuration):
    """When a registered model recommends in two stages, and what that may miss."""

    from_items: Count | None = Field(
        None, description="two stages from this many items on (needs the extra retrieval); null: never"
    )
    number: int = Field(
        500, ge=50, le=100_000, description="candidates from each source; lists of up to a fifth of it are served so"
    )
    recall: Share = Field(0.98, description="least share of the exact best items that they must contain")
    users: int = Field(
        2000, ge=2, le=LARGEST, description="users, drawn at random: half choose the cells, half measure the share"
    )

    @model_validator(mode="after")
    def _installed(self) -> Self:
        if self.from_items is not None and find_spec("faiss") is None:
            raise ValueError(NEEDS_FAISS)
        return self
