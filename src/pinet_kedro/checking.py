"""Validation of parameters, with one sentence per error: its name, its value, and what it may be."""

from collections.abc import Iterator, Mapping
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from pinet_kedro.configuration import did_you_mean
from pinet_kedro.errors import InputError

_MOST = 8  # errors in one message
_LONGEST_VALUE = 60
_LONGEST = 600
_MISSING: Any = object()
_Model = TypeVar("_Model", bound=BaseModel)
# An annotation and its constraints.
_Kind = tuple[Any, tuple[Any, ...]]


def checked(model: type[_Model], settings: Any, name: str) -> _Model:
    """The parameters `name` as a typed value. Raises `InputError`, which lists all errors in them."""
    try:
        return model.model_validate(settings)
    except ValidationError as error:
        raise InputError(joined(complaints(error, model, settings, name))) from error


def joined(found: list[str]) -> str:
    """One message with the first few errors."""
    if len(found) == 1:
        return f"{found[0]}."
    left = [f"and {len(found) - _MOST} more"] if len(found) > _MOST else []
    return "\n- ".join([f"{len(found)} parameters are wrong:", *found[:_MOST], *left])


def complaints(error: ValidationError, model: Any, settings: Any, name: str) -> list[str]:
    """One sentence per wrong parameter that pydantic found: its dotted name, its value, and what it may be."""
    found: dict[str, str] = {}
    for problem in error.errors(include_url=False, include_context=True):
        path, value, kinds = _place(problem["loc"], model, settings, name)
        path, text = _sentence(problem, path, value, kinds)
        found.setdefault(path, text[:_LONGEST])
    return list(found.values())


def as_yaml(value: Any) -> str:
    """The value as in YAML, shortened to a readable length."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int) and value.bit_length() > 1000:
        return f"a number of about {value.bit_length() * 3 // 10:,} digits"
    text = repr(list(value) if isinstance(value, tuple) else value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}…"


def _sentence(problem: Any, path: str, value: Any, kinds: list[_Kind]) -> tuple[str, str]:
    context = problem.get("ctx", {})
    kind = problem["type"]
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        tag = context["discriminator"].strip("'")
        wanted = [name for kind in kinds for name in _tags(kind[0], tag)]
        given = value.get(tag, _MISSING) if isinstance(value, Mapping) else _MISSING
        path = f"{path}.{tag}"
        if given is _MISSING:
            return path, f"{path} is missing: must be {_either(map(as_yaml, wanted))}"
        hint = did_you_mean(str(given), map(str, wanted))
        return path, f"{path} = {as_yaml(given)}: {hint}must be {_either(map(as_yaml, wanted))}"
    if kind in ("value_error", "assertion_error"):
        reason = problem["msg"].split(", ", 1)[1]
        of_value = value is not _MISSING and not isinstance(value, Mapping)
        return path, f"{path} = {as_yaml(value)}: {reason}" if of_value else f"{path}: {reason}"
    wanted_text = _either(text for kind in kinds for text in _wanted(*kind)) or problem["msg"]
    if value is _MISSING:
        return path, f"{path} is missing: must be {wanted_text}"
    hint = ""
    if kind == "literal_error":
        hint = did_you_mean(str(value), (str(v) for a, _ in kinds for v in _literals(a)))
    elif isinstance(value, str) and kind in ("int_type", "float_type", "bool_type"):
        hint = "is text, "
    return path, f"{path} = {as_yaml(value)}: {hint}must be {wanted_text}"


def _place(loc: tuple[int | str, ...], model: Any, settings: Any, name: str) -> tuple[str, Any, list[_Kind]]:
    """Dotted name, value and allowed kinds at pydantic's path `loc`, which also contains the tags of alternatives."""
    path, value = name, settings
    kinds: list[_Kind] = [(model, ())]
    for part in loc:
        alternatives = [alternative for kind in kinds for alternative in _alternatives(*kind)]
        models = [a for a, _ in alternatives if _is_model(a)]
        fields = [m.model_fields[part] for m in models if part in m.model_fields]
        inside = isinstance(value, Mapping) and part in value
        if inside or (fields and not any(part in _tags(m) for m in models)):
            of_dict = [(get_args(a)[1], ()) for a, _ in alternatives if get_origin(a) is dict]
            kinds = [(f.annotation, tuple(f.metadata)) for f in fields] or of_dict
            path, value = f"{path}.{part}", value[part] if inside else _MISSING
        elif isinstance(part, int) and isinstance(value, list | tuple) and part < len(value):
            kinds = [(get_args(a)[0], ()) for a, _ in alternatives if get_origin(a) is tuple]
            path, value = f"{path}[{part}]", value[part]
        elif tagged := [(m, ()) for m in models if part in _tags(m)]:
            kinds = tagged
    return path, value, kinds


def _alternatives(annotation: Any, rules: tuple[Any, ...]) -> Iterator[_Kind]:
    """The members of a union, or the annotation itself, each with its constraints."""
    if get_origin(annotation) is Annotated:
        inner, *more = get_args(annotation)
        flat = [r for rule in more for r in (rule.metadata if isinstance(rule, FieldInfo) else [rule])]
        yield from _alternatives(inner, (*rules, *flat))
    elif get_origin(annotation) in (Union, UnionType):
        for part in get_args(annotation):
            yield from _alternatives(part, rules)
    else:
        yield annotation, rules


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _literals(annotation: Any) -> tuple[Any, ...]:
    return tuple(v for a, _ in _alternatives(annotation, ()) if get_origin(a) is Literal for v in get_args(a))


def _tags(annotation: Any, tag: str | None = None) -> list[Any]:
    """The fixed words that identify the alternatives: values of `Literal` fields with one value (called `tag`)."""
    models = [a for a, _ in _alternatives(annotation, ()) if _is_model(a)]
    fields = [f for m in models for name, f in m.model_fields.items() if tag in (None, name)]
    return [words[0] for f in fields if len(words := _literals(f.annotation)) == 1]


def _wanted(annotation: Any, rules: tuple[Any, ...]) -> Iterator[str]:
    kinds = list(_alternatives(annotation, rules))
    models = [kind for kind, _ in kinds if _is_model(kind)]
    for kind, bounds in kinds:
        if kind is NoneType:
            yield "null"
        elif get_origin(kind) is Literal:
            yield from map(as_yaml, get_args(kind))
        elif get_origin(kind) is tuple:
            some = " that is not empty" if any(getattr(rule, "min_length", 0) for rule in bounds) else ""
            yield f"a list{some}, each entry {_either(_wanted(get_args(kind)[0], ()))}"
        elif get_origin(kind) is dict:
            yield "a section of names and values"
        elif _is_model(kind):
            shared = [name for name in kind.model_fields if all(name in model.model_fields for model in models)]
            yield f"a section with {', '.join(shared)}"
        elif kind in (int, float):
            yield ("a whole number" if kind is int else "a number") + _range(bounds)
        elif kind in (bool, str):
            yield "true or false" if kind is bool else "text"


def _range(rules: tuple[Any, ...]) -> str:
    """' from 1 to 50', ' above 0 and at most 1', …"""
    ends = {name: getattr(rule, name) for rule in rules for name in ("ge", "gt", "le", "lt") if hasattr(rule, name)}
    if "ge" in ends and "le" in ends:
        return f" from {_number(ends['ge'])} to {_number(ends['le'])}"
    words = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
    return " " + " and ".join(f"{words[name]} {_number(end)}" for name, end in ends.items()) if ends else ""


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


def _either(options: Any) -> str:
    *most, last = dict.fromkeys(options) or [""]
    return f"{', '.join(most)} or {last}" if most else last
