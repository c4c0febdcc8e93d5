"""The model as MLflow loads it (models-from-code): raw item ids in, recommendations out.

Request and answer are typed by the hints of `predict`, from which MLflow takes the signature. It then checks a request
with pydantic; the signature of columns that it takes from tables cost 2.5 ms more a request, in pandas.
"""

from pathlib import Path
from typing import Any, cast

import mlflow
import yaml
from pydantic import BaseModel, ConfigDict


class Request(BaseModel):
    """One user: the raw ids of the items seen, oldest first, how many items are wanted (`params.k` unless given), and
    items that are not to be offered. A `user_id` comes back with the answer."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    history: list[str]
    k: int | None = None
    exclude: list[str] | None = None
    user_id: str | None = None


class Answer(BaseModel):
    """The best items first, with their scores; the stratum (head or tail) that served the user; the version of the
    registered model, or 'unregistered' where it was not loaded from the registry."""

    items: list[str]
    scores: list[float]
    stratum: str
    model_version: str
    user_id: str | None = None


class ServedRecommender(mlflow.pyfunc.PythonModel):
    """An answer for every request."""

    def load_context(self, context: Any) -> None:
        """Reads safetensors and JSON from the version's own folder."""
        from pinet_kedro.recommender import Recommender

        folder = Path(context.artifacts["recommender"])
        self.recommender = Recommender.load(folder)
        self.version = _version(folder.parents[1])

    def predict(self, model_input: list[Request], params: dict[str, Any] | None = None) -> list[Answer]:
        """Answers as dictionaries: MLflow's server cannot write pydantic models."""
        params = params or {}
        default = int(params.get("k", 10))
        wanted = [default if request.k is None else request.k for request in model_input]
        if min(wanted, default=1) < 1:
            raise mlflow.MlflowException.invalid_parameter_value(f"k must be at least 1, got {min(wanted)}")
        answers = self.recommender.recommend(
            [request.history for request in model_input],
            k=max(wanted, default=1),
            exclude_seen=params.get("exclude_seen"),
            exclude=[request.exclude or [] for request in model_input],
        )
        return [
            cast(
                Answer,
                {"items": items[:k], "scores": scores[:k], "stratum": stratum, "model_version": self.version}
                | ({} if request.user_id is None else {"user_id": request.user_id}),
            )
            for request, k, (items, scores, stratum) in zip(model_input, wanted, answers, strict=True)
        ]


def _version(folder: Path) -> str:
    # MLflow notes the version beside every model that it loads by its registered name.
    note = folder / "registered_model_meta"
    version = yaml.safe_load(note.read_text(encoding="utf-8")).get("model_version") if note.exists() else None
    return str(version or "unregistered")


mlflow.models.set_model(ServedRecommender())
