"""Typed configuration of the benchmark; imports nothing that is slow."""

from typing import Any, Literal

from pydantic import Field

from pinet_kedro.backbones.config import BackboneConfig
from pinet_kedro.configuration import Configuration


class Benchmark(Configuration):
    """What is compared: methods as differences from `backbone_training`, on one backbone or several."""

    seeds: tuple[int, ...] = Field((1, 2, 3, 4, 5), min_length=1)
    reference: str = "base"
    backbones: tuple[BackboneConfig, ...] = Field((), description="none given: that of `backbone_training`")
    plugins: dict[str, dict[str, Any] | None] = Field(
        {"plugins": {}},
        description="variants fitted on every method, as differences from `plugin_training`; null: none",
    )
    ablations: dict[str, dict[str, Any] | None] = Field({}, description="more variants, fitted on the reference alone")
    metrics: tuple[Literal["ndcg_at_10", "hr_at_10", "mrr", "auc"], ...] = Field(("ndcg_at_10",), min_length=1)
    workers: int = Field(1, ge=1, description="processes, each with `backbone_training.threads` of its own")
    folder: str = Field("data/07_model_output/benchmark", description="of the finished cells, in the project")
    methods: dict[str, dict[str, Any] | None] = Field(
        {"base": {"aggregation": None}}, description="null: left out, in an environment"
    )
