"""Adapters of `dataset` to the catalog."""

import numpy as np
import pandas as pd

from pinet_kedro import dataset
from pinet_kedro.activeness import Stratification
from pinet_kedro.dataset import Dataset
from pinet_kedro.interactions import items
from pinet_kedro.interactions.events import Cleaning, Interactions
from pinet_kedro.interactions.split import ExcludeSeen, Splitting
from pinet_kedro.pipelines.types import Figure


def build_dataset(
    clean: Interactions,
    metadata: pd.DataFrame,
    splitting: Splitting,
    exclude_seen: ExcludeSeen,
    stratification: Stratification,
    cleaning: Cleaning,
) -> tuple[Dataset, pd.Index]:
    """The dataset of the clean events and of the categories of its items, and the raw ids of its users."""
    more = cleaning.items_without_events
    return dataset.dataset_of(clean.indexed(), splitting, exclude_seen, stratification, metadata, more)


def describe_users(data: Dataset, user_ids: pd.Index) -> tuple[pd.DataFrame, Figure]:
    """The table of users with their activeness and strata, and the figure of the long tail."""
    from pinet_kedro.figures.activeness import long_tail_figure

    activeness, strata = data.activeness, data.strata
    users = pd.DataFrame(
        {
            "user_id": user_ids.astype("string"),
            "activeness": activeness,
            "stratum": strata.training.assign(activeness) + 1,
            "group": np.where(strata.head_tail.assign(activeness) == 1, "head", "tail"),
            "quintile": strata.quintiles.assign(activeness) + 1,
        }
    )
    return users, long_tail_figure(activeness, strata)


def describe_items(data: Dataset, metadata: pd.DataFrame) -> pd.DataFrame:
    """The items of the dataset with their titles and categories, where there are any."""
    return items.describe_items(data.items["item_id"], metadata)
