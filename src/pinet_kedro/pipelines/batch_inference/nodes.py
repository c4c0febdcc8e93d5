"""Adapters of `serving` to the catalog."""

import pandas as pd

from pinet_kedro.dataset import Dataset
from pinet_kedro.pipelines.types import Recommendations
from pinet_kedro.serving.config import BatchInference
from pinet_kedro.tracking.config import Tracking


def recommend(dataset: Dataset, users: pd.DataFrame, config: BatchInference, registry: Tracking) -> Recommendations:
    """Recommendations, which are computed while they are written."""
    from pinet_kedro.serving.batch_inference import prepare_recommendations
    from pinet_kedro.tracking.server import sentence

    with sentence(registry.uri, "Nothing has been written."):
        return prepare_recommendations(dataset, users["user_id"], config, registry)
