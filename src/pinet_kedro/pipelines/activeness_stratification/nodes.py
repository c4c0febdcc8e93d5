"""Adapters of `interactions` and `activeness` to the catalog."""

import logging

import numpy as np
import pandas as pd

from pinet_kedro.activeness import ReportingStrata, Stratification, fit_strata
from pinet_kedro.interactions.events import Interactions
from pinet_kedro.interactions.sequences import Sequences, build_sequences
from pinet_kedro.interactions.split import Split
from pinet_kedro.pipelines.types import Figure

log = logging.getLogger(__name__)


def index_events(clean: Interactions) -> tuple[Sequences, pd.Index, pd.Index]:
    """Sequences, and the raw ids behind their numbers."""
    return build_sequences(clean.events)


def stratify(
    sequences: Sequences, split: Split, user_ids: pd.Index, item_ids: pd.Index, config: Stratification
) -> tuple[ReportingStrata, pd.DataFrame, pd.DataFrame, Figure]:
    """Strata, the table of users with theirs, the table of items, and the figure of the long tail."""
    from pinet_kedro.reporting.figures.activeness import long_tail_figure

    activeness = np.asarray(split.train_end)
    strata = fit_strata(activeness, config)
    for kind, at in (("validation", split.valid_at), ("test", split.test_at)):
        if absent := strata.absent(activeness[np.asarray(at) > 0]):
            log.warning("No user of %s has a %s target: these groups are not measured there.", ", ".join(absent), kind)
    users = pd.DataFrame(
        {
            "user_id": user_ids.astype("string"),
            "activeness": activeness,
            "stratum": strata.training.assign(activeness) + 1,
            "group": np.where(strata.head_tail.assign(activeness) == 1, "head", "tail"),
            "quintile": strata.quintiles.assign(activeness) + 1,
        }
    )
    counts = split.item_counts(sequences, len(item_ids))
    items = pd.DataFrame({"item_id": item_ids.astype("string"), "training_events": counts})
    return strata, users, items, long_tail_figure(activeness, strata)
