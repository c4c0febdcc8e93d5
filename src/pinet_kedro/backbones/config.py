"""Typed configurations of the backbones; free of torch, so that the command line can read them at no cost."""

from typing import Annotated, Literal

from pydantic import Field

from pinet_kedro.configuration import Configuration


class _Shared(Configuration):
    """What every backbone has, so that a dataset's environment may set it whatever the backbone."""

    width: int = Field(64, ge=2, description="of item vectors and states")
    max_length: int = Field(50, ge=2, description="newest events of a history that are read")
    dropout: float = Field(0.5, ge=0, lt=1)


class SASRecConfig(_Shared):
    """Hyper-parameters of `sasrec.SASRec`."""

    name: Literal["sasrec"] = "sasrec"
    blocks: int = Field(2, ge=1)
    heads: int = Field(2, ge=1)
    # Not told where it is absolute: trained models and studies from before it keep their names.
    positions: Literal["absolute", "relative"] = Field(
        "absolute",
        exclude_if=lambda value: value == "absolute",
        description="absolute = a vector for the place before the newest event, as in the paper; relative = a bias of "
        "attention for the distance between two events",
    )


class GRU4RecConfig(_Shared):
    """Hyper-parameters of `gru4rec.GRU4Rec`."""

    name: Literal["gru4rec"] = "gru4rec"
    hidden: int = Field(128, ge=1, description="width of the recurrent state")
    layers: int = Field(1, ge=1)


class DINConfig(_Shared):
    """Hyper-parameters of `din.DIN`."""

    name: Literal["din"] = "din"
    heads: int = Field(2, ge=1, description="attentions of a candidate over the history; time grows with them")


BackboneConfig = Annotated[SASRecConfig | GRU4RecConfig | DINConfig, Field(discriminator="name")]
