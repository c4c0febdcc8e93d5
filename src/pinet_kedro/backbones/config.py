"""Typed configurations of the backbones; free of torch, so that the command line can read them at no cost."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pinet_kedro.configuration import LARGEST, Configuration


class _Shared(Configuration):
    """What every backbone has, so that a dataset's environment may set it whatever the backbone."""

    width: int = Field(64, ge=2, le=LARGEST, description="of item vectors and states")
    max_length: int = Field(50, ge=2, le=LARGEST, description="newest events of a history that are read")
    dropout: float = Field(0.5, ge=0, lt=1)


class _Headed(_Shared):
    """A backbone whose attention is cut into heads."""

    heads: int = Field(
        2, ge=1, le=LARGEST, description="attentions side by side, each on width / heads; DIN's time grows"
    )

    @model_validator(mode="after")
    def _even_heads(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"width must be a multiple of heads, got width = {self.width} and heads = {self.heads}")
        return self


class SASRecConfig(_Headed):
    """Hyper-parameters of `sasrec.SASRec`."""

    name: Literal["sasrec"] = "sasrec"
    blocks: int = Field(2, ge=1, le=1000)
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
    hidden: int = Field(128, ge=1, le=LARGEST, description="width of the recurrent state")
    layers: int = Field(1, ge=1, le=1000)


class DINConfig(_Headed):
    """Hyper-parameters of `din.DIN`."""

    name: Literal["din"] = "din"


BackboneConfig = Annotated[SASRecConfig | GRU4RecConfig | DINConfig, Field(discriminator="name")]
