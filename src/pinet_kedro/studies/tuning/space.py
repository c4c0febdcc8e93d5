"""The search space: checked against the typed configurations before the first trial, and what a trial makes of it."""

from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import product
from types import NoneType
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from pinet_kedro.configuration import Configuration
from pinet_kedro.errors import InputError
from pinet_kedro.parameters import flat, plain
from pinet_kedro.plugins.config import PluginTraining
from pinet_kedro.studies.tuning.config import Categorical, Dimension, FloatRange, IntRange
from pinet_kedro.training.config import BackboneTraining

if TYPE_CHECKING:
    from optuna import Trial

AGGREGATION = "backbone_training.aggregation."
PLUGINS = "plugin_training."
_ROOTS: dict[str, type[Configuration]] = {"backbone_training": BackboneTraining, "plugin_training": PluginTraining}
_FIXED = {
    "backbone_training.seed": "every trial has a seed of its own (tuning.seed)",
    "backbone_training.threads": "it changes no result",
    "backbone_training.device": "it changes no result",
    "backbone_training.schedule.epochs": "all trials have one budget (tuning.epochs)",
    "backbone_training.schedule.validate_every": "all trials are looked at together (tuning.validate_every)",
    "backbone_training.schedule.validation_users": "all trials are judged on the same users",
}


@dataclass(frozen=True)
class Space:
    """Dimensions by dotted name, each after those that its `when` asks for, around a shipped configuration."""

    dimensions: dict[str, Dimension]
    training: BackboneTraining
    plugins: PluginTraining

    @property
    def tunes_plugins(self) -> bool:
        """Whether trials differ in the plugins, and so are judged with them."""
        return any(name.startswith(PLUGINS) for name in self.dimensions)

    def suggest(self, trial: "Trial") -> dict[str, Any]:
        """A value for every dimension that is open to this trial, by dotted name."""
        values: dict[str, Any] = {}
        for name, dimension in self.dimensions.items():
            if not self._open(dimension, values):
                continue
            if isinstance(dimension, FloatRange):
                values[name] = trial.suggest_float(name, dimension.low, dimension.high, log=dimension.log)
            elif isinstance(dimension, IntRange):
                values[name] = trial.suggest_int(name, dimension.low, dimension.high, log=dimension.log)
            else:
                values[name] = trial.suggest_categorical(name, dimension.choices)
        return values

    def configured(self, values: dict[str, Any]) -> tuple[BackboneTraining, PluginTraining]:
        """The shipped configuration with these values in place; raises pydantic's error where they do not go together.

        Another choice among alternatives (a backbone, a loss, a rule) keeps the settings that it shares with the old.
        """
        told = {"backbone_training": plain(self.training), "plugin_training": plain(self.plugins)}
        for name, value in values.items():
            root, *path = name.split(".")
            _put(told[root], _ROOTS[root], path, value)
        return (
            BackboneTraining.model_validate(told["backbone_training"]),
            PluginTraining.model_validate(told["plugin_training"]),
        )

    def shipped(self) -> dict[str, Any] | None:
        """The shipped configuration as a trial of this space; None where a bound or a choice leaves it out."""
        told = self._told
        values: dict[str, Any] = {}
        for name, dimension in self.dimensions.items():
            if not self._open(dimension, values):
                continue
            value = told.get(name)
            if isinstance(dimension, Categorical):
                inside = value in dimension.choices
            else:
                inside = value is not None and dimension.low <= value <= dimension.high
            if not inside:
                return None
            values[name] = value
        return values

    def check(self) -> None:
        """Raises `InputError` for a dimension that some trial could not use, before there is any trial."""
        for name, dimension in self.dimensions.items():
            for field in _fields(name):
                _check_type(name, dimension, field)
            for context in self._contexts(name):
                for value in _probes(dimension):
                    try:
                        self.configured(context | {name: value})
                    except ValidationError as error:
                        why = error.errors()[0]["msg"].removeprefix("Value error, ")
                        given = "".join(f" with {key} = {v}" for key, v in context.items())
                        raise InputError(f"tuning.space: {name} cannot be {value}{given}: {why}.") from error

    @property
    def _told(self) -> dict[str, Any]:
        return flat({"backbone_training": plain(self.training), "plugin_training": plain(self.plugins)})

    def _open(self, dimension: Dimension, values: dict[str, Any]) -> bool:
        """Whether the conditions hold: of a parameter that is tuned by its value, of another one as it is shipped."""
        for name, wanted in dimension.when.items():
            value = values.get(name) if name in self.dimensions else self._told.get(name)
            if value not in (wanted if isinstance(wanted, tuple) else (wanted,)):
                return False
        return True

    def _contexts(self, name: str) -> Iterator[dict[str, Any]]:
        """Values of the choices that the dimension depends on, or stands beside, under which it is open."""
        beside = name.rpartition(".")[0]
        asked = [
            other
            for other, dimension in self.dimensions.items()
            if other != name
            and isinstance(dimension, Categorical)
            and (other in self.dimensions[name].when or other.rpartition(".")[0] == beside)
        ]
        for values in product(*(self.dimensions[other].choices for other in asked)):  # type: ignore[union-attr]
            context: dict[str, Any] = {}
            for other, value in zip(asked, values, strict=True):
                if self._open(self.dimensions[other], context):
                    context[other] = value
            if self._open(self.dimensions[name], context):
                yield context


def build_space(
    dimensions: dict[str, Dimension | None], training: BackboneTraining, plugins: PluginTraining, joint: bool = False
) -> Space:
    """The space, checked; `joint` leaves the aggregation out. Raises `InputError`, which names what is wrong."""
    left = {name: d for name, d in dimensions.items() if d is not None}
    for name, dimension in left.items():
        _check_name(name, "tuning.space")
        for other in dimension.when:
            _check_name(other, f"tuning.space.{name}.when")
        if name in _FIXED:
            raise InputError(f"tuning.space: {name} cannot be tuned: {_FIXED[name]}.")
    if joint:
        left = {name: d for name, d in left.items() if not name.startswith(AGGREGATION)}
    if not left:
        raise InputError("tuning.space: nothing is left to be tuned.")
    space = Space(_ordered(left), training, plugins)
    space.check()
    return space


def _ordered(dimensions: dict[str, Dimension]) -> dict[str, Dimension]:
    ordered: dict[str, Dimension] = {}
    while len(ordered) < len(dimensions):
        ready = {
            name: d
            for name, d in dimensions.items()
            if name not in ordered and all(other in ordered or other not in dimensions for other in d.when)
        }
        if not ready:
            circle = ", ".join(name for name in dimensions if name not in ordered)
            raise InputError(f"tuning.space: the conditions of {circle} wait for each other.")
        ordered |= ready
    return ordered


def _check_name(name: str, where: str) -> None:
    if _fields(name):
        return
    known = list(_names())
    near = get_close_matches(name, known, 1)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    raise InputError(
        f"{where}: '{name}' is no parameter of training.{hint} Tuned is what stands under backbone_training and "
        "plugin_training in conf/base, by its dotted name."
    )


def _check_type(name: str, dimension: Dimension, field: FieldInfo) -> None:
    kinds = _kinds(field.annotation)
    if isinstance(dimension, Categorical):
        return  # its choices are tried out one by one
    fitting = {int, float} if isinstance(dimension, IntRange) else {float}
    if not kinds & fitting:
        said = " or ".join(sorted(kind.__name__ for kind in kinds)) or "no number"
        raise InputError(
            f"tuning.space: {name} takes {said}, so a range of type '{dimension.type}' is of the wrong type. "
            f"{'Use type: int' if int in kinds else 'Use type: categorical with choices'}."
        )


def _probes(dimension: Dimension) -> tuple[Any, ...]:
    return dimension.choices if isinstance(dimension, Categorical) else (dimension.low, dimension.high)


def _kinds(annotation: Any) -> set[type]:
    """Plain types that an annotation admits; a literal's are those of its values."""
    if get_origin(annotation) is Literal:
        return {type(value) for value in get_args(annotation)}
    parts = get_args(annotation)
    if parts and get_origin(annotation) not in (tuple, list, dict):
        return set().union(*(_kinds(part) for part in parts))
    return {annotation} if isinstance(annotation, type) and annotation is not NoneType else set()


def _members(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [member for part in get_args(annotation) for member in _members(part)]


def _fields(name: str) -> list[FieldInfo]:
    """Fields that a dotted name can mean, one for each alternative that has it."""
    root, *path = name.split(".")
    models: list[type[BaseModel]] = [_ROOTS[root]] if root in _ROOTS else []
    found: list[FieldInfo] = []
    for part in path:
        found = [model.model_fields[part] for model in models if part in model.model_fields]
        models = [member for field in found for member in _members(field.annotation)]
    return [] if models or not path else found


def _names() -> Iterator[str]:
    def below(prefix: str, model: type[BaseModel]) -> Iterator[str]:
        for name, field in model.model_fields.items():
            members = _members(field.annotation)
            for member in members:
                yield from below(f"{prefix}{name}.", member)
            if not members:
                yield f"{prefix}{name}"

    for root, model in _ROOTS.items():
        yield from dict.fromkeys(below(f"{root}.", model))


def _put(told: dict[str, Any], model: type[BaseModel], path: list[str], value: Any) -> None:
    """Sets a value in the dump of a configuration; where it names an alternative, the settings of the old one go."""
    name, *rest = path
    if not rest:
        told[name] = value
        return
    field = model.model_fields[name]
    members = _members(field.annotation)
    if told[name] is None:
        told[name] = plain(members[0]())  # a part that is switched off, and is now given a setting
    inner = told[name]
    tag = _tag(field)
    if tag == rest[0]:
        chosen = next((m for m in members if value in get_args(m.model_fields[rest[0]].annotation)), None)
        if chosen is not None:
            told[name] = inner = {key: entry for key, entry in inner.items() if key in chosen.model_fields}
    current = next((m for m in members if tag is not None and _tagged(m, tag, inner)), members[0])
    _put(inner, current, rest, value)


def _tag(field: FieldInfo) -> str | None:
    """The setting that tells alternatives apart; it stands inside the annotation of a field that may be null."""
    inside = [getattr(part, "__metadata__", ()) for part in get_args(field.annotation)]
    found = [field.discriminator, *(m.discriminator for parts in inside for m in parts if isinstance(m, FieldInfo))]
    return next((tag for tag in found if isinstance(tag, str)), None)


def _tagged(model: type[BaseModel], tag: str, told: dict[str, Any]) -> bool:
    return told.get(tag) in get_args(model.model_fields[tag].annotation)
