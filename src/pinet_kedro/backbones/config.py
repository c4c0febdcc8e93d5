"""Typed configurations of the backbones. This file does not import torch, so the command line reads them quickly."""

from collections.abc import Mapping
from pkgutil import resolve_name
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import Field, SerializeAsAny, ValidatorFunctionWrapHandler, WrapValidator, model_validator

from pinet_kedro.configuration import LARGEST, Configuration

# Every backbone: its `name` in conf/, and its class in this package. A new backbone is a file and a line here.
NETWORKS = {
    "sasrec": "sasrec:SASRec",
    "gru4rec": "gru4rec:GRU4Rec",
    "din": "din:DIN",
    "lrurec": "lrurec:LRURec",
}


class SharedConfig(Configuration):
    """Fields that all backbones have, so that the environment of a data set can set them for any backbone."""

    width: int = Field(64, ge=2, le=LARGEST, description="of item vectors and states")
    max_length: int = Field(50, ge=2, le=LARGEST, description="number of newest events of a history that are read")
    dropout: float = Field(0.5, ge=0, lt=1)


class _Headed(SharedConfig):
    """A backbone with multi-head attention."""

    heads: int = Field(
        2, ge=1, le=LARGEST, description="attention heads, each of width / heads; with DIN, time grows with them"
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
    positions: Literal["absolute", "relative"] = Field(
        "relative",
        description="relative = an attention bias per distance between two events; absolute = a vector per position, "
        "counted from the newest event",
    )
    item_norm: Literal["free", "unit"] = Field(
        "free",
        description="length of item vectors: free = learnt; unit = 1 for all, so that it cannot stand for popularity",
    )
    # Omitted when it is the default, so that hashes computed before this field existed stay valid.
    block: Literal["pre_norm", "original"] = Field(
        "pre_norm",
        exclude_if=lambda value: value == "pre_norm",
        description="pre_norm = a layer norm before each sub-layer; original = that of the authors' code, in which "
        "attention can turn to the empty places of a short history",
    )


class GRU4RecConfig(SharedConfig):
    """Hyper-parameters of `gru4rec.GRU4Rec`."""

    name: Literal["gru4rec"] = "gru4rec"
    hidden: int = Field(128, ge=1, le=LARGEST, description="width of the recurrent state")
    layers: int = Field(1, ge=1, le=1000)


class DINConfig(_Headed):
    """Hyper-parameters of `din.DIN`."""

    name: Literal["din"] = "din"


class LRURecConfig(SharedConfig):
    """Hyper-parameters of `lrurec.LRURec`."""

    name: Literal["lrurec"] = "lrurec"
    hidden: int = Field(128, ge=1, le=LARGEST, description="number of complex recurrent units")
    blocks: int = Field(1, ge=1, le=1000)


def network(name: str) -> Any:
    """The class of a backbone."""
    return resolve_name(f"pinet_kedro.backbones.{NETWORKS[name]}")


_Here = SASRecConfig | GRU4RecConfig | DINConfig | LRURecConfig


def _settings_of_network(given: Any, handler: ValidatorFunctionWrapHandler) -> Any:
    """Validates a backbone whose configuration is not in this file by the `Config` of its class."""
    if isinstance(given, SharedConfig):
        return given
    name = given.get("name") if isinstance(given, Mapping) else None
    here = {kind.model_fields["name"].default for kind in get_args(_Here)}
    return network(name).Config.model_validate(given) if name in NETWORKS and name not in here else handler(given)


BackboneConfig = Annotated[
    SerializeAsAny[Annotated[_Here, Field(discriminator="name")]],
    WrapValidator(_settings_of_network),
]
