"""Datasets made by hand."""

import pandas as pd

from pinet_kedro.activeness import ReportingStrata
from pinet_kedro.dataset import Dataset

ONE_STRATUM = ReportingStrata.model_validate(
    {"training": {"thresholds": []}, "head_tail": {"thresholds": [5]}, "quintiles": {"thresholds": []}}
)


def as_dataset(sequences, split, items, strata=ONE_STRATUM):
    """The dataset of these parts; `items` are raw ids, or their number."""
    ids = range(1, items + 1) if isinstance(items, int) else items
    return Dataset(sequences, split, strata, pd.DataFrame({"item_id": pd.Series(list(map(str, ids)), dtype="string")}))
