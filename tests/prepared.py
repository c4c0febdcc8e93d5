"""Datasets made by hand."""

import pandas as pd

from pinet_kedro.activeness import ReportingStrata
from pinet_kedro.dataset import Dataset

ONE_STRATUM = ReportingStrata.model_validate(
    {"training": {"thresholds": []}, "head_tail": {"thresholds": [5]}, "quintiles": {"thresholds": []}}
)


def as_dataset(sequences, split, items, strata=ONE_STRATUM, categories=None):
    """The dataset of these parts; `items` are raw ids, or their number, and `categories` lists, one for each item."""
    ids = range(1, items + 1) if isinstance(items, int) else items
    table = pd.DataFrame({"item_id": pd.Series(list(map(str, ids)), dtype="string")})
    return Dataset(sequences, split, strata, table if categories is None else table.assign(categories=categories))
