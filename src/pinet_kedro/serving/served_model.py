"""The model as MLflow loads it (models-from-code): raw item ids in, recommendations out.

MLflow takes the signature from the type hints of `predict` and checks requests with pydantic. A signature of table
columns would cost 2.5 ms more per request, spent in pandas.
"""

from datetime import date
from numbers import Integral, Real
from pathlib import Path
from typing import Any, cast

import mlflow
import numpy as np
import pandas as pd
import yaml
from pydantic import BaseModel, ConfigDict, field_validator, model_validator
from pydantic_core import PydanticCustomError


class Request(BaseModel):
    """One user: `history`, the raw ids of the items seen, oldest first; `k`, the number of items wanted (default:
    `params.k`); items to `exclude`; `only`, the items that may be recommended (default: all); and a `user_id`, which is
    returned with the recommendation. Ids are texts or whole numbers; those that the model does not know are skipped.

    Recommended items have at least one of `categories` (default: any) and none of `not_categories`. With
    `min_categories`, the list has at least this number of distinct categories, if possible. `times`, one for each item
    of the history, order it: then it need not be the oldest first (`asking.oldest_first`).

    A missing value in a column of a DataFrame (NaN) is a field that is left out.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    history: list[str]
    k: int | None = None
    exclude: list[str] | None = None
    only: list[str] | None = None
    categories: list[str] | None = None
    not_categories: list[str] | None = None
    min_categories: int | None = None
    times: list[str] | None = None
    user_id: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _without_missing(cls, row: Any) -> Any:
        # A column of whole numbers with a missing one has floats.
        return {k: v for k, v in row.items() if not _is_missing(v) or k == "history"} if isinstance(row, dict) else row

    @field_validator("history", mode="before")
    @classmethod
    def _history(cls, ids: Any) -> Any:
        spelled = cls._spell(ids)
        if not isinstance(spelled, list) or not set(map(type, spelled)) <= {str}:
            raise PydanticCustomError(
                "history", "a history is a list of item ids, texts or whole numbers, oldest first"
            )
        return spelled

    @field_validator("exclude", "only", "categories", "not_categories", mode="before")
    @classmethod
    def _spell(cls, ids: Any) -> Any:
        if not isinstance(ids, list) or set(map(type, ids)) <= {str}:  # MLflow validates each request several times
            return ids
        return [_text(item) for item in ids]

    @field_validator("times", mode="before")
    @classmethod
    def _spell_times(cls, times: Any) -> Any:
        return [_time(time) for time in times] if isinstance(times, list) else times

    @field_validator("k", "min_categories", mode="before")
    @classmethod
    def _whole(cls, value: Any) -> Any:
        return int(value) if isinstance(value, float) and value.is_integer() else value

    @field_validator("user_id", mode="before")
    @classmethod
    def _spell_user(cls, user: Any) -> Any:
        return _text(cls._whole(user))


class Explained(BaseModel):
    """Why an item is offered: the summands of its score by scorer, and the item of the history with the largest `share`
    of the memory's summand (None where the memory has no part in the score)."""

    contributions: dict[str, float]
    because: str | None = None
    share: float | None = None


class Recommendation(BaseModel):
    """The best items first, with their scores; the user's stratum (head or tail); the version of the registered model,
    or 'unregistered' where the model was not loaded from the registry; `unknown_items`, the number of items of the
    history that the model does not know; and `fallback`: whether these are popular and recent items, because it knows
    none. With `min_categories`, `distinct_categories` is the number of categories in the list; it is smaller than the
    one asked for if no allowed item would add one. With `params.explain`, `explained` has one entry per item, `average`
    the mean contributions over all items, and `note` says what cannot be attributed."""

    items: list[str]
    scores: list[float]
    stratum: str
    model_version: str
    unknown_items: int
    fallback: bool
    distinct_categories: int | None = None
    user_id: str | None = None
    explained: list[Explained] | None = None
    average: dict[str, float] | None = None
    note: str | None = None


class ServedRecommender(mlflow.pyfunc.PythonModel):
    """Returns one recommendation per request."""

    def load_context(self, context: Any) -> None:
        """Loads the recommender, safetensors and JSON, from the version's own folder."""
        from pinet_kedro import asking
        from pinet_kedro.errors import InputError
        from pinet_kedro.explanation import explain
        from pinet_kedro.recommender import Recommender

        self.asking, self.explain, self.wrong = asking, explain, InputError
        folder = Path(context.artifacts["recommender"])
        self.recommender = Recommender.load(folder)
        self.version = _version(folder.parents[1])

    def predict(self, model_input: list[Request], params: dict[str, Any] | None = None) -> list[Recommendation]:
        """Recommendations as dictionaries, because MLflow's server cannot serialise pydantic models."""
        params = params or {}
        default = int(params.get("k", 10))
        wanted = [default if request.k is None else request.k for request in model_input]
        for name, given in (("k", wanted), ("min_categories", [row.min_categories or 1 for row in model_input])):
            if min(given, default=1) < 1:
                raise mlflow.MlflowException.invalid_parameter_value(f"{name} must be at least 1, got {min(given)}")
        try:
            return self._answers(model_input, wanted, params.get("exclude_seen"), bool(params.get("explain")))
        except self.wrong as error:
            raise mlflow.MlflowException.invalid_parameter_value(str(error)) from error

    def _answers(
        self, rows: list[Request], wanted: list[int], exclude_seen: bool | None, explained: bool
    ) -> list[Recommendation]:
        histories = [
            row.history if row.times is None else self.asking.oldest_first(row.history, row.times, number)
            for number, row in enumerate(rows)
        ]
        constraints = [self._constraints(row) for row in rows]
        if explained:
            return [
                self._explained(row, self.explain(self.recommender, history, k, exclude_seen, limits))
                for row, history, k, limits in zip(rows, histories, wanted, constraints, strict=True)
            ]
        found = self.recommender.recommend(histories, wanted, exclude_seen, constraints)
        return [self._answer(row, one.items, one.scores, one) for row, one in zip(rows, found, strict=True)]

    def _constraints(self, row: Request) -> Any:
        return self.asking.Constraints(
            exclude=row.exclude or (),
            only=row.only,
            categories=row.categories,
            not_categories=row.not_categories or (),
            min_categories=row.min_categories or 0,
        )

    def _answer(self, request: Request, items: list[str], scores: list[float], found: Any) -> Recommendation:
        answer = {
            "items": items,
            "scores": scores,
            "stratum": found.stratum,
            "model_version": self.version,
            "unknown_items": found.unknown_items,
            "fallback": found.fallback,
        }
        more = {"distinct_categories": found.distinct_categories, "user_id": request.user_id}
        return cast(Recommendation, answer | {name: value for name, value in more.items() if value is not None})

    def _explained(self, request: Request, found: Any) -> Recommendation:
        why = [
            {"contributions": item.contributions}
            | ({} if item.because is None else dict(zip(("because", "share"), item.because, strict=True)))
            for item in found.items
        ]
        items, scores = [item.item for item in found.items], [item.score for item in found.items]
        more = {"explained": why, "average": found.average} | ({} if found.note is None else {"note": found.note})
        return cast(Recommendation, {**cast(dict[str, Any], self._answer(request, items, scores, found)), **more})


def _is_missing(value: Any) -> bool:
    return value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and value != value)


def _text(value: Any) -> Any:
    """A whole number as text; any other value as it is."""
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, Integral) and not isinstance(value, bool) else value


def _time(value: Any) -> Any:
    """A number or a date as text; any other value as it is."""
    if isinstance(value, date):  # a `datetime` is one, too
        return value.isoformat()
    if isinstance(value, np.datetime64):
        return str(value)
    return repr(float(value)) if isinstance(value, Real) and not isinstance(value, Integral) else _text(value)


def _version(folder: Path) -> str:
    # MLflow writes this file next to every model that it downloads by its registered name.
    note = folder / "registered_model_meta"
    version = yaml.safe_load(note.read_text(encoding="utf-8")).get("model_version") if note.exists() else None
    return str(version or "unregistered")


mlflow.models.set_model(ServedRecommender())
