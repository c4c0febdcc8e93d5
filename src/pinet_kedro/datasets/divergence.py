"""What is left of a training run that diverged: its best model so far, stored beside the trained ones."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pinet_kedro.backbones.backbone import Backbone
from pinet_kedro.datasets.files import RecommenderDataset
from pinet_kedro.project import project_folder
from pinet_kedro.recommender import Recommender
from pinet_kedro.training.backbone import DivergedError

_MODELS = "data/06_models"


@contextmanager
def keep_best(name: str, recommender: Callable[[Backbone], Recommender]) -> Iterator[None]:
    """Stores the best validated model in `data/06_models/diverged_<name>` when the training inside diverges.

    The error goes on, and its message says where the model is or why there is none.
    """
    try:
        yield
    except DivergedError as error:
        raise DivergedError(f"{error} {_kept(name, recommender, error)}", error.best) from error


def _kept(name: str, recommender: Callable[[Backbone], Recommender], error: DivergedError) -> str:
    if error.best is None:
        return "No epoch had been validated before (backbone_training.schedule.validate_every), so no model is kept."
    folder = project_folder() / _MODELS / f"diverged_{name}"
    RecommenderDataset(str(folder)).save(recommender(error.best.backbone))
    return (
        f"The best model until then (epoch {error.best.epoch}, validation NDCG@10 {error.best.valid_ndcg:.4f}) "
        f"is in {folder}."
    )
