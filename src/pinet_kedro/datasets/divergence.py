"""The best model of a training run that diverged, stored beside the trained models."""

from collections.abc import Iterator
from contextlib import contextmanager

from pinet_kedro.dataset import Dataset
from pinet_kedro.datasets.folders import RecommenderDataset
from pinet_kedro.project import project_folder
from pinet_kedro.recommender import new_recommender
from pinet_kedro.training.backbone import DivergedError


@contextmanager
def store_best_on_divergence(folder: str, dataset: Dataset) -> Iterator[None]:
    """Stores the best validated model in this folder of the project when the training inside diverges.

    The error is raised again; its message gives the place of the model, or the reason why there is none.
    """
    try:
        yield
    except DivergedError as error:
        raise DivergedError(f"{error} {_stored(folder, dataset, error)}", error.best) from error


def _stored(place: str, dataset: Dataset, error: DivergedError) -> str:
    if error.best is None:
        return "No epoch was validated before (backbone_training.schedule.validate_every), so no model is stored."
    folder = project_folder() / place
    RecommenderDataset(str(folder)).save(new_recommender(error.best.backbone, dataset))
    return (
        f"The best model before that (epoch {error.best.epoch}, validation NDCG@10 {error.best.valid_ndcg:.4f}) "
        f"is in {folder}."
    )
