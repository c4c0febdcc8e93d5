"""Typed configuration of the benchmark; imports nothing that is slow."""

from typing import Any, Literal, Self, get_args

from pydantic import Field, model_validator

from pinet_kedro.backbones.config import BackboneConfig
from pinet_kedro.configuration import Configuration, Name, Processes, Seed, Text

Metric = Literal[
    "ndcg_at_5", "ndcg_at_10", "ndcg_at_20", "hr_at_5", "hr_at_10", "hr_at_20", "mrr_at_5", "mrr_at_10", "mrr_at_20",
    "mrr", "auc", "coverage_at_10", "gini_at_10", "novelty_at_10", "popularity_at_10", "long_tail_share_at_10",
    "category_diversity_at_10", "ndcg_at_10_popular_items", "hr_at_10_popular_items", "ndcg_at_10_long_tail_items",
    "hr_at_10_long_tail_items", "ndcg_at_10_cold_items", "hr_at_10_cold_items",
]  # fmt: skip


_TAKEN = ("shared", "refit")  # ends of the names of other models (`Bench.run`)


class Benchmark(Configuration):
    """What is compared: methods as differences from `backbone_training`, on one backbone or several."""

    seeds: tuple[Seed, ...] = Field((1, 2, 3, 4, 5), min_length=1)
    reference: Name = "base"
    as_shipped: tuple[Name, ...] = Field(
        ("base", "backdoor"),
        description="methods that are also measured after a refit on the validation events, alone and with the first "
        "variant of plugins",
    )
    backbones: tuple[BackboneConfig, ...] = Field((), description="none given: that of `backbone_training`")
    plugins: dict[Name, dict[str, Any] | None] = Field(
        {"plugins": {}},
        description="variants fitted on every method, as differences from `plugin_training`; null: none",
    )
    ablations: dict[Name, dict[str, Any] | None] = Field({}, description="more variants, fitted on the reference alone")
    metrics: tuple[Metric, ...] = Field(
        ("ndcg_at_10", *(m for m in get_args(Metric) if m != "ndcg_at_10")), min_length=1
    )
    workers: Processes = Field(1, description="processes, each with `backbone_training.threads` of its own")
    folder: Text = Field("data/07_model_output/benchmark", description="of the finished cells, in the project")
    methods: dict[Name, dict[str, Any] | None] = Field(
        {"base": {"aggregation": None}}, description="null: left out, in an environment"
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if joined := [name for name in self.methods if "+" in name]:
            raise ValueError(
                f"the method '{joined[0]}' must not contain '+': <method>+<variant> is a model with plugins"
            )
        for name in (*self.plugins, *self.ablations):
            if name in _TAKEN or "+" in name:
                raise ValueError(
                    f"the variant of plugins '{name}' must not be {' or '.join(_TAKEN)}, nor contain '+': "
                    "<method>+shared and <method>+refit are other models"
                )
        fitted = [{name for name, given in of.items() if given is not None} for of in (self.plugins, self.ablations)]
        if twice := sorted(set.intersection(*fitted)):
            raise ValueError(f"'{twice[0]}' is among plugins and ablations: a variant has one name")
        names = [backbone.name for backbone in self.backbones]
        if len(set(names)) < len(names):
            raise ValueError(
                f"backbones must have different names, got {names}: results are told apart by them. Other settings of "
                "one backbone are methods, such as wide: {aggregation: null, backbone: {name: sasrec, width: 128}}"
            )
        if self.metrics[0] in ("coverage_at_10", "gini_at_10", "category_diversity_at_10"):
            raise ValueError(
                f"metrics must not begin with {self.metrics[0]}: the figures show the first metric with its intervals. "
                "A measure of the whole catalogue has none, and diversity is not there where items have no categories. "
                "Put another one before it, such as ndcg_at_10"
            )
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds must differ, got {list(self.seeds)}: one seed twice is one result counted twice")
        return self
