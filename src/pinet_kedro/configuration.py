"""The base classes of all typed values, and the field types that many of them share.

Values are never converted silently: `"3"`, `true` and `3.7` are not whole numbers, and `nan` and `inf` are not numbers.
Every whole number has an upper bound: the largest value that numpy, torch or the clock accepts. What fits into memory
depends on the data; `training/memory.py` checks it when the data are known.
"""

from difflib import get_close_matches
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

LARGEST = 2**31 - 1  # the largest C int, which several libraries use for counts
_DAY_S = 86_400
_LONGEST_TEXT = 1000


class Stored(BaseModel):
    """A typed value that is stored and read again; immutable, without unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _known(cls, data: Any) -> Any:
        if isinstance(data, dict):
            for name in data:
                if name not in cls.model_fields:
                    hint = did_you_mean(str(name), cls.model_fields)
                    raise ValueError(
                        f"'{name}' is no setting here; {hint}the settings are {', '.join(cls.model_fields)}"
                    )
        return data


class Configuration(Stored):
    """Parameters that a user may change in `conf/`."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _lists_are_tuples(cls, data: Any) -> Any:
        """The data with lists as tuples: YAML and JSON have only lists, which strict validation refuses."""
        if not isinstance(data, dict):
            return data
        of_tuples = {name for name, field in cls.model_fields.items() if "tuple[" in str(field.annotation)}
        return {name: _tuples(value) if name in of_tuples else value for name, value in data.items()}


def _tuples(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(map(_tuples, value))
    return {key: _tuples(entry) for key, entry in value.items()} if isinstance(value, dict) else value


def did_you_mean(name: str, known: Any) -> str:
    """'did you mean …? ' if a known name is similar, otherwise an empty text."""
    near = get_close_matches(name, list(known), 1)
    return f"did you mean '{near[0]}'? " if near else ""


def _readable(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be empty or blank")
    if len(text) > _LONGEST_TEXT:
        raise ValueError(f"must have at most {_LONGEST_TEXT:,} characters, has {len(text):,}")
    if not text.isprintable():
        raise ValueError("must not contain line breaks or other control characters")
    return text


def _named(text: str) -> str:
    if "/" in text or ":" in text or "\\" in text or text in (".", ".."):
        raise ValueError("is a name, and must not contain '/', '\\' or ':'")
    return text


def _is_version(text: str) -> str:
    if not text.replace("_", "a").replace("-", "a").isalnum() or (text.isdecimal() and int(text) == 0):
        raise ValueError("must be an alias (letters, digits, _ and -) or a version number, from 1")
    return text


def _whole_as_text(value: Any) -> Any:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


# The range that numpy, torch and legacy random generators all accept.
Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]
Count = Annotated[int, Field(ge=1, le=LARGEST)]
Threads = Annotated[int, Field(ge=1, le=1024)]
Processes = Annotated[int, Field(ge=1, le=256)]
# Timers accept at most a day.
Seconds = Annotated[float, Field(gt=0, le=_DAY_S)]
Text = Annotated[str, AfterValidator(_readable)]
Name = Annotated[Text, AfterValidator(_named)]
Version = Annotated[Text, BeforeValidator(_whole_as_text), AfterValidator(_is_version)]
