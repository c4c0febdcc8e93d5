"""What the server answers, as an OpenAPI description (`/openapi.json`) and as a page for people (`/docs`).

The part on requests is made from the type that checks them (`body.request_type`), so the two cannot differ. All else
is in `openapi.yml`.
"""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import yaml
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from .messages import Known

_HERE = Path(__file__).parent


class Explained(BaseModel):
    """Why an item is offered."""

    contributions: dict[str, float]
    because: str | None = None
    share: float | None = None


class Answer(BaseModel):
    """The best items of a user. Fields that are not required are left out where they do not apply."""

    items: list[str]
    scores: list[float]
    stratum: str
    model_version: str
    unknown_items: int | None = None
    fallback: bool | None = None
    distinct_categories: int | None = None
    user_id: str | None = None
    explained: list[Explained] | None = None
    average: dict[str, float] | None = None
    note: str | None = None


class Answers(BaseModel):
    """The response to a good request."""

    predictions: list[Answer]


class Failure(BaseModel):
    """The response to any other request."""

    error_code: str
    message: str


@dataclass(frozen=True)
class Description:
    """The description of a server whose requests have the type `body_type`.

    `known` are the fields that each version takes; what one of an earlier release does not take is noted.
    """

    body_type: type[BaseModel]
    limits: SimpleNamespace
    known: dict[str, Known]

    def page(self, path: str) -> tuple[bytes, bytes]:
        """Content type and body of `/openapi.json` or `/docs`."""
        if path == "/docs":
            return b"text/html; charset=utf-8", self._html
        return b"application/json", json.dumps(self.openapi).encode()

    @cached_property
    def openapi(self) -> dict[str, Any]:
        """The description as OpenAPI 3.1."""
        found: dict[str, Any] = yaml.safe_load((_HERE / "openapi.yml").read_text(encoding="utf-8"))
        texts = found["components"]["schemas"]
        types: list[Any] = [(self.body_type, "validation"), (Answers, "validation"), (Failure, "validation")]
        schemas = models_json_schema(types, ref_template="#/components/schemas/{model}")[1]["$defs"]
        for name, schema in schemas.items():
            schema["description"] = texts[name]["description"]
            part = {"Row": "inputs", "Params": "params"}.get(name)
            for field, shown in schema["properties"].items():
                shown |= texts[name]["properties"][field]
                shown.pop("title", None)
                if shown.get("default", False) is None:
                    del shown["default"]
                if without := [v for v, takes in self.known.items() if takes and part and field not in takes[part]]:
                    shown["description"] += f" Not for version {' and '.join(without)}, which is of an earlier release."
        found["components"]["schemas"] = schemas
        return found

    @cached_property
    def _html(self) -> bytes:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined

        # Beside the page, the shell of all pages of the project, which is no code.
        folders = FileSystemLoader([_HERE, _HERE.with_name("reporting")])
        made = Environment(loader=folders, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
        made.filters["compact"] = lambda value: json.dumps(value, ensure_ascii=False)
        values = {"api": self.openapi, "limits": vars(self.limits), "versions": list(self.known)}
        policy = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
        return made.get_template("docs.html.j2").render(values, policy=policy, home=None, scripts=[]).encode()
