"""The search space: checked against the typed configurations before the first trial; a trial's values in place."""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from importlib.util import find_spec
from itertools import product
from typing import Any

from pydantic import ValidationError

from pinet_kedro.errors import InputError
from pinet_kedro.parameters import flat, plain, with_values
from pinet_kedro.plugins.config import PluginTraining
from pinet_kedro.studies.tuning.config import Categorical, Dimension, IntRange
from pinet_kedro.training.config import OF_THE_MACHINE, BackboneTraining

_ROOTS = ("backbone_training", "plugin_training")
_FIXED = (
    "seed",
    *OF_THE_MACHINE,
    "schedule.epochs",
    "schedule.validate_every",
    "schedule.validation_users",
)


@dataclass(frozen=True)
class SearchSpace:
    """Dimensions by dotted name, each after those that its `when` refers to, around a shipped configuration."""

    dimensions: dict[str, Dimension]
    training: BackboneTraining
    plugins: PluginTraining

    @property
    def tunes_plugins(self) -> bool:
        """Whether trials differ in their plugins; they are then judged with them."""
        return any(name.startswith("plugin_training.") for name in self.dimensions)

    @cached_property
    def _shipped(self) -> dict[str, Any]:
        return flat(dict(zip(_ROOTS, (plain(self.training), plain(self.plugins)), strict=True)))

    def suggest(self, trial: Any) -> dict[str, Any]:
        """A value for every dimension that is open to this trial of Optuna, by dotted name."""
        values: dict[str, Any] = {}
        for name, dimension in self.dimensions.items():
            if self._open(dimension, values):
                if isinstance(dimension, Categorical):
                    values[name] = trial.suggest_categorical(name, dimension.choices)
                else:
                    suggest = trial.suggest_int if isinstance(dimension, IntRange) else trial.suggest_float
                    values[name] = suggest(name, dimension.low, dimension.high, log=dimension.log)
        return values

    def shipped(self) -> dict[str, Any]:
        """The shipped configuration as values of this space; empty where a bound or a choice excludes it."""
        from optuna.trial import FixedTrial

        try:
            with warnings.catch_warnings(action="error"):  # Optuna warns of a value out of bounds
                return self.suggest(FixedTrial(self._shipped))
        except (ValueError, UserWarning):
            return {}

    def configured(self, values: dict[str, Any]) -> tuple[BackboneTraining, PluginTraining]:
        """The shipped configuration with these values in place; raises pydantic's error where they do not fit."""
        parts: dict[str, dict[str, Any]] = {root: {} for root in _ROOTS}
        for name, value in values.items():
            root, _, inner = name.partition(".")
            parts[root][inner] = value
        training, plugins = parts.values()
        return with_values(self.training, training), with_values(self.plugins, plugins)

    def check(self) -> None:
        """Raises `InputError` for a dimension that some trial could not use."""
        for name, dimension in self.dimensions.items():
            ends = dimension.choices if isinstance(dimension, Categorical) else (dimension.low, dimension.high)
            for context, value in product(self._contexts(name), ends):
                try:
                    self.configured(context | {name: value})
                except ValidationError as error:
                    why = error.errors()[0]["msg"].removeprefix("Value error, ")
                    given = "".join(f" with {key} = {v}" for key, v in context.items())
                    raise InputError(f"tuning.space: {name} cannot be {value}{given}: {why}.") from error

    def _open(self, dimension: Dimension, values: dict[str, Any]) -> bool:
        """Whether the conditions hold; a parameter that is not tuned counts as it is shipped."""
        known = {name: value for name, value in self._shipped.items() if name not in self.dimensions} | values
        return all(
            known.get(name) in (wanted if isinstance(wanted, tuple) else (wanted,))
            for name, wanted in dimension.when.items()
        )

    def _contexts(self, name: str) -> Iterator[dict[str, Any]]:
        """Values of the choices in the same section or in its conditions, under which the dimension is open."""
        section, conditions = name.rpartition(".")[0], self.dimensions[name].when
        near = [n for n in self.dimensions if n != name and (n in conditions or n.rpartition(".")[0] == section)]
        choices = {n: d.choices for n in near if isinstance(d := self.dimensions[n], Categorical)}
        for values in product(*choices.values()):
            context: dict[str, Any] = {}
            for other, value in zip(choices, values, strict=True):
                context |= {other: value} if self._open(self.dimensions[other], context) else {}
            if self._open(self.dimensions[name], context):
                yield context


def build_space(
    dimensions: dict[str, Dimension | None], training: BackboneTraining, plugins: PluginTraining, joint: bool = False
) -> SearchSpace:
    """The checked space; `joint` leaves the aggregation out. Raises `InputError`, which names what is wrong."""
    if find_spec("optuna") is None:
        raise InputError("The pipeline 'tuning' needs Optuna. Install it: pip install 'pinet-kedro[studies]'")
    left = {name: dimension for name, dimension in dimensions.items() if dimension is not None}
    known = tuple(f"{name}." for name in (*SearchSpace({}, training, plugins)._shipped, *left))
    for name, dimension in left.items():
        if name.partition(".")[0] not in _ROOTS:
            raise InputError(f"tuning.space: '{name}' is not a parameter of training. Give its whole dotted name.")
        for other in dimension.when:
            if not f"{other}.".startswith(known):
                raise InputError(f"tuning.space.{name}.when: there is no parameter '{other}'.")
        if name.removeprefix("backbone_training.") in _FIXED:
            why = "tuning.epochs, tuning.validate_every and tuning.seed set it, or it changes no result"
            raise InputError(f"tuning.space: {name} cannot be tuned: {why}.")
    if joint:
        left = {name: d for name, d in left.items() if not name.startswith("backbone_training.aggregation.")}
    if not left:
        raise InputError("tuning.space: nothing is left to tune.")
    try:
        after = {name: [other for other in dimension.when if other in left] for name, dimension in left.items()}
        space = SearchSpace({name: left[name] for name in TopologicalSorter(after).static_order()}, training, plugins)
    except CycleError as error:
        raise InputError(f"tuning.space: the conditions of {', '.join(error.args[1][1:])} form a circle.") from error
    space.check()
    return space
