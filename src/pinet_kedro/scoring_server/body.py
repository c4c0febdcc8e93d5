"""The body of a request: JSON in UTF-8, within the limits, in one of MLflow's formats."""

import json
from types import SimpleNamespace
from typing import Annotated, Any

from mlflow.pyfunc import scoring_server
from pydantic import BaseModel, ConfigDict, Field, ValidationError, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from .messages import RequestError

_IDS = ("history", "exclude", "only", "categories", "not_categories")
_NUMBERS: dict[str, set[type]] = {**{name: {int} for name in _IDS}, "times": {int, float}}
_HISTORY = "; a history is a list of item ids, texts or whole numbers, the oldest first"


def request_type(limits: SimpleNamespace) -> type[BaseModel]:
    """The pydantic type of a body within these limits; `openapi.yml` documents the fields."""
    Id = Annotated[str, Field(max_length=limits.id_length), _or("integer", limits.id_length)]
    Time = Annotated[str, Field(max_length=limits.id_length), _or("number", limits.id_length)]
    Names = Annotated[list[Id], Field(max_length=limits.categories)]
    Count = Annotated[int, Field(ge=1, le=limits.k)]

    class Strict(BaseModel):
        model_config = ConfigDict(extra="forbid", strict=True)

    class Row(Strict):
        history: Annotated[list[Id], Field(max_length=limits.history)]
        k: Count | None = None
        exclude: Annotated[list[Id], Field(max_length=limits.exclude)] | None = None
        only: Annotated[list[Id], Field(max_length=limits.only)] | None = None
        categories: Names | None = None
        not_categories: Names | None = None
        min_categories: Annotated[int, Field(ge=1, le=limits.categories)] | None = None
        times: Annotated[list[Time], Field(max_length=limits.history)] | None = None
        user_id: Id | None = None

    class Params(Strict):
        k: Count = 1
        exclude_seen: bool = True
        explain: bool = False

    class Body(Strict):
        inputs: Annotated[list[Row], Field(min_length=1, max_length=limits.rows)]
        params: Params | None = None

        @model_validator(mode="after")
        def _few_explained(self) -> "Body":
            if self.params is not None and self.params.explain and len(self.inputs) > limits.explained:
                raise PydanticCustomError(
                    "too_many",
                    "at most {most} rows with params.explain (serving.limits.explained)",
                    {"most": limits.explained},
                )
            return self

    return Body


def _or(number: str, longest: int) -> WithJsonSchema:
    """The schema of a text that may be written as a number: `_spell_numbers` makes it a text before it is checked."""
    return WithJsonSchema({"anyOf": [{"type": "string", "maxLength": longest}, {"type": number}]})


def parse_body(body: bytes, body_type: type[BaseModel]) -> dict[str, Any]:
    """The request in the form `{"inputs": [...], "params": {...}}`; raises `RequestError` where it is not valid."""
    try:
        # As text: from bytes, `json` would also guess UTF-16 and UTF-32.
        request = json.loads(body.decode("utf-8-sig"), object_pairs_hook=_object, parse_constant=_no_constant)
    except UnicodeDecodeError:
        raise RequestError(400, "the body is not JSON in UTF-8") from None
    except (ValueError, RecursionError) as error:
        known = f": {error}" if isinstance(error, _JsonError) else ""
        raise RequestError(400, f"the body is not valid JSON{known}") from None
    if not isinstance(request, dict):
        raise RequestError(400, "the body must be a JSON object")
    request = _as_inputs(request)
    _spell_numbers(request.get("inputs"))
    try:
        body_type.model_validate(request)
    except ValidationError as error:
        raise RequestError(400, _sentence(error)) from None
    return request


class _JsonError(ValueError):
    """Python reads it, JSON does not allow it."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _JsonError("an object has the same name twice")
    return found


def _no_constant(name: str) -> None:
    raise _JsonError(f"{name} is no number")


def _as_inputs(body: dict[str, Any]) -> dict[str, Any]:
    """`dataframe_records`, `dataframe_split` or `instances` rewritten as `inputs`; any other body unchanged."""
    if "inputs" in body:
        return body
    rest = {key: value for key, value in body.items() if key not in scoring_server.SUPPORTED_FORMATS}
    given = [body[key] for key in body if key in ("dataframe_records", "instances")]
    if "dataframe_split" in body:
        table = body["dataframe_split"]
        if not isinstance(table, dict) or not {"columns", "data"} <= set(table) <= {"columns", "data", "index"}:
            raise RequestError(400, "dataframe_split must hold columns and data")
        try:
            given.append([dict(zip(table["columns"], row, strict=True)) for row in table["data"]])
        except (TypeError, ValueError):
            raise RequestError(400, "every row of dataframe_split.data must hold a value for each column") from None
    return {**rest, "inputs": given[0]} if len(given) == 1 else body


def _spell_numbers(rows: Any) -> None:
    """Writes whole numbers in lists of ids and in `user_id`, and numbers in `times`, as text; all else stays, for the
    type to judge."""
    for row in rows if isinstance(rows, list) else ():
        if not isinstance(row, dict):
            continue
        for name, kinds in _NUMBERS.items():
            values = row.get(name)
            if isinstance(values, list) and not kinds.isdisjoint(map(type, values)):
                row[name] = [repr(value) if type(value) in kinds else value for value in values]
        if type(row.get("user_id")) is int:
            row["user_id"] = str(row["user_id"])


def _sentence(error: ValidationError) -> str:
    found = error.errors(include_url=False, include_input=False, include_context=False)
    places = (".".join(map(str, e["loc"])) or "the body" for e in found)
    faults = [f"{place[:100]}: {e['msg']}" for place, e in zip(places, found, strict=True)]
    more = f"; and {len(faults) - 3} more" if len(faults) > 3 else ""
    about = any(e["loc"][2:3] == ("history",) for e in found)
    return "; ".join(faults[:3]) + more + (_HISTORY if about else "")
