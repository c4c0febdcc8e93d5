"""Parameters as plain dictionaries, for storage, comparison and logging; and with values put in by dotted name."""

from functools import reduce
from operator import getitem
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel

from pinet_kedro.printable import public

_Section = TypeVar("_Section", bound=BaseModel)


def plain(value: Any) -> Any:
    """The parameters with every typed model as a dictionary."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, dict):
        return {key: plain(entry) for key, entry in value.items()}
    return value


def without_credentials(value: Any) -> Any:
    """Plain parameters with `…` for user and password of every address."""
    if isinstance(value, dict):
        return {key: without_credentials(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [without_credentials(entry) for entry in value]
    return public(value) if isinstance(value, str) else value


def flat(value: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested parameters as one dictionary with dotted names."""
    out: dict[str, Any] = {}
    for key, entry in value.items():
        if isinstance(entry, dict):
            out |= flat(entry, f"{prefix}{key}.")
        else:
            out[f"{prefix}{key}"] = entry
    return out


def as_text(value: Any) -> str:
    """A plain value as YAML in one line: what Kedro reads again as this value, whatever its type."""
    return yaml.safe_dump(value, default_flow_style=True, width=float("inf"), allow_unicode=True).splitlines()[0]


def with_values(section: _Section, values: dict[str, Any]) -> _Section:
    """The typed parameters with values at dotted names; raises pydantic's error where they do not fit.

    Another alternative (a backbone, a loss, a rule) keeps the settings that it shares with the former one.
    """
    whole = plain(section)
    for name, value in values.items():
        *path, leaf = name.split(".")
        inner = whole
        for part in path:
            if not isinstance(inner.get(part), dict):
                inner[part] = {}  # a part that is switched off, and now gets a setting
            inner = inner[part]
        if leaf in ("name", "rule"):
            alone = reduce(lambda nested, part: {part: nested}, reversed(path), {leaf: value})
            for key in inner.keys() - reduce(getitem, path, plain(type(section).model_validate(alone))).keys():
                del inner[key]
        inner[leaf] = value
    return type(section).model_validate(whole)
