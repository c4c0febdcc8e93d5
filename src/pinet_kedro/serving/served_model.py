"""The model as MLflow loads it (models-from-code): raw item ids in, recommendations out.

MLflow takes the signature from the type hints of `predict` and checks requests with pydantic. A signature of table
columns would cost 2.5 ms more per request, spent in pandas.
"""

from numbers import Integral
from pathlib import Path
from typing import Any, cast

import mlflow
import yaml
from pydantic import BaseModel, ConfigDict, field_validator


class Request(BaseModel):
    """One user: `history`, the raw ids of the items seen, oldest first; `k`, the number of items wanted (default:
    `params.k`); items to `exclude`; `only`, the items that may be recommended (default: all); and a `user_id`, which is
    returned with the recommendation. Ids are texts or whole numbers; those that the model does not know are skipped."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    history: list[str]
    k: int | None = None
    exclude: list[str] | None = None
    only: list[str] | None = None
    user_id: str | None = None

    @field_validator("history", "exclude", "only", mode="before")
    @classmethod
    def _spell(cls, ids: Any) -> Any:
        if not isinstance(ids, list) or set(map(type, ids)) <= {str}:  # MLflow validates each request several times
            return ids
        return [_text(item) for item in ids]

    @field_validator("user_id", mode="before")
    @classmethod
    def _spell_user(cls, user: Any) -> Any:
        return _text(user)


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
    none. With `params.explain`, `explained` has one entry per item, `average` the mean contributions over all items,
    and `note` says what cannot be attributed."""

    items: list[str]
    scores: list[float]
    stratum: str
    model_version: str
    unknown_items: int
    fallback: bool
    user_id: str | None = None
    explained: list[Explained] | None = None
    average: dict[str, float] | None = None
    note: str | None = None


class ServedRecommender(mlflow.pyfunc.PythonModel):
    """Returns one recommendation per request."""

    def load_context(self, context: Any) -> None:
        """Loads the recommender, safetensors and JSON, from the version's own folder."""
        from pinet_kedro.explanation import explain
        from pinet_kedro.recommender import Recommender

        self.explain = explain
        folder = Path(context.artifacts["recommender"])
        self.recommender = Recommender.load(folder)
        self.version = _version(folder.parents[1])

    def predict(self, model_input: list[Request], params: dict[str, Any] | None = None) -> list[Recommendation]:
        """Recommendations as dictionaries, because MLflow's server cannot serialise pydantic models."""
        params = params or {}
        default = int(params.get("k", 10))
        wanted = [default if request.k is None else request.k for request in model_input]
        if min(wanted, default=1) < 1:
            raise mlflow.MlflowException.invalid_parameter_value(f"k must be at least 1, got {min(wanted)}")
        if params.get("explain"):
            return [
                self._explained(request, k, params.get("exclude_seen"))
                for request, k in zip(model_input, wanted, strict=True)
            ]
        answers = self.recommender.recommend(
            [request.history for request in model_input],
            k=max(wanted, default=1),
            exclude_seen=params.get("exclude_seen"),
            exclude=[request.exclude or [] for request in model_input],
            only=[request.only for request in model_input],
        )
        return [
            self._answer(request, answer.items[:k], answer.scores[:k], answer)
            for request, k, answer in zip(model_input, wanted, answers, strict=True)
        ]

    def _answer(self, request: Request, items: list[str], scores: list[float], found: Any) -> Recommendation:
        answer = {
            "items": items,
            "scores": scores,
            "stratum": found.stratum,
            "model_version": self.version,
            "unknown_items": found.unknown_items,
            "fallback": found.fallback,
        }
        return cast(Recommendation, answer if request.user_id is None else answer | {"user_id": request.user_id})

    def _explained(self, request: Request, k: int, exclude_seen: bool | None) -> Recommendation:
        found = self.explain(self.recommender, request.history, k, exclude_seen, request.exclude, request.only)
        why = [
            {"contributions": item.contributions}
            | ({} if item.because is None else dict(zip(("because", "share"), item.because, strict=True)))
            for item in found.items
        ]
        items, scores = [item.item for item in found.items], [item.score for item in found.items]
        more = {"explained": why, "average": found.average} | ({} if found.note is None else {"note": found.note})
        return cast(Recommendation, {**cast(dict[str, Any], self._answer(request, items, scores, found)), **more})


def _text(value: Any) -> Any:
    """A whole number as text; any other value as it is."""
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, Integral) and not isinstance(value, bool) else value


def _version(folder: Path) -> str:
    # MLflow writes this file next to every model that it downloads by its registered name.
    note = folder / "registered_model_meta"
    version = yaml.safe_load(note.read_text(encoding="utf-8")).get("model_version") if note.exists() else None
    return str(version or "unregistered")


mlflow.models.set_model(ServedRecommender())
