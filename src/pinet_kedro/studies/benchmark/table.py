"""Methods compared over seeds: one table, paired intervals over users and seeds."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from pinet_kedro.dataset import Dataset
from pinet_kedro.evaluation.beyond_accuracy import (
    CATALOGUE_MEASURES,
    catalogue_measures,
    item_facts,
    targets,
    user_measures,
)
from pinet_kedro.evaluation.intervals import relative_gains
from pinet_kedro.evaluation.metrics import user_metrics
from pinet_kedro.evaluation.ranks import lists_of, ranks_of

# By backbone and model: seeds x users, or seeds x 1 for a measure of the catalogue.
Scores = dict[tuple[str, str], pd.DataFrame]


def benchmark_table(
    ranks: pd.DataFrame, dataset: Dataset, reference: str, metrics: Sequence[str] = ("ndcg_at_10",)
) -> pd.DataFrame:
    """One row for each metric, backbone, model and group of users.

    `value` is the mean over seeds and users, `seed_deviation` its standard deviation over seeds; `gain, low, high`
    compare with `reference` on the same backbone, `same_plugins_gain, …_low, …_high` with the reference under the same
    kind of plugins, all relative. Catalogue measures have no interval, nor has a gain that fewer than ten users decide
    (`relative_gain`). `users` are those for whom all models have the metric, with all seeds; a metric that nobody has
    is left out.

    `ranks` holds `backbone, model, seed` and the columns of `rank_models`; the lists are needed for measures beyond
    accuracy. A comparison uses the seeds that both sides have.
    """
    values = pd.concat([ranks[_KEYS].reset_index(drop=True), _measured(ranks, dataset, metrics)], axis=1)
    rows = []
    for metric in metrics:
        if metric not in (*values, *CATALOGUE_MEASURES):
            continue  # category diversity of items without categories
        if metric in CATALOGUE_MEASURES:
            groups = _groups(dataset, ranks["user"])
            of_groups = {group: _catalogue_scores(ranks, mask, metric, dataset) for group, mask in groups.items()}
        else:
            # The lists of one model may have a diversity where those of another have none: gains are of the same users.
            known = values[values[metric].notna().groupby(values["user"]).transform("all")]
            groups = _groups(dataset, known["user"])
            scores = _scores(known, metric)
            of_groups = {g: {model: t.loc[:, mask] for model, t in scores.items()} for g, mask in groups.items()}
        gains = {group: _gains(scores, reference) for group, scores in of_groups.items()}
        for backbone, model in next(iter(of_groups.values()), {}):
            for group, scores in of_groups.items():
                mine = scores[backbone, model]
                means = mine.mean(axis=1)
                row = {
                    "metric": metric, "backbone": backbone, "model": model, "group": group,
                    "users": int(groups[group].sum()), "seeds": len(mine), "value": float(means.mean()),
                    "seed_deviation": float(means.std(ddof=1)) if len(mine) > 1 else np.nan,
                }  # fmt: skip
                found = gains[group][backbone, model]
                if metric in CATALOGUE_MEASURES:
                    found = {name: value if name.endswith("gain") else np.nan for name, value in found.items()}
                rows.append(row | found)
    return pd.DataFrame(rows)


_KEYS = ["backbone", "model", "seed", "user"]
_ENDS = {"relative": "gain", "low": "low", "high": "high"}


def _groups(dataset: Dataset, users: pd.Series) -> dict[str, np.ndarray]:
    """Masks over the sorted distinct users, by group; groups without users are left out."""
    found = dataset.strata.groups(dataset.activeness[np.sort(users.unique())])
    return {name: mask for name, mask in found.items() if mask.any()}


def _measured(ranks: pd.DataFrame, dataset: Dataset, metrics: Sequence[str]) -> pd.DataFrame:
    """The metrics of every row; measures beyond accuracy only where some are asked for."""
    of = ranks_of(ranks)
    accuracy = user_metrics(of)
    beyond = {}
    if not set(metrics) <= {*accuracy, *CATALOGUE_MEASURES}:
        beyond = user_measures(of, targets(dataset, ranks["user"].to_numpy()), item_facts(dataset))
    return pd.DataFrame({name: values for name, values in (accuracy | beyond).items() if name in metrics})


def _scores(values: pd.DataFrame, metric: str) -> Scores:
    return {
        (str(backbone), str(model)): table.pivot_table(index="seed", columns="user", values=metric)
        for (backbone, model), table in values.groupby(["backbone", "model"], sort=False)
    }


def _catalogue_scores(ranks: pd.DataFrame, mask: np.ndarray, metric: str, dataset: Dataset) -> Scores:
    """One value for each seed, of the lists of a group of users together."""
    found: dict[tuple[str, str], dict[Any, float]] = defaultdict(dict)
    for (backbone, model, seed), table in ranks.groupby(_KEYS[:-1], sort=False):
        top = lists_of(ranks_of(table.sort_values("user")))
        found[str(backbone), str(model)][seed] = catalogue_measures(top[mask], dataset.n_items)[metric]
    return {name: pd.DataFrame({metric: pd.Series(values)}).sort_index() for name, values in found.items()}


def _gains(scores: Scores, reference: str) -> dict[tuple[str, str], dict[str, float]]:
    """`gain, low, high` of every model over the reference, and `same_plugins_…` over that under the same plugins.

    A model after a refit is compared with the reference after a refit.
    """
    nothing = {prefix + end: np.nan for prefix in ("", "same_plugins_") for end in _ENDS.values()}
    found = {model: dict(nothing) for model in scores}
    # Pairs that have the same seeds are measured together.
    alike: dict[tuple[int, ...], list[tuple[tuple[str, str], str, tuple[str, str]]]] = defaultdict(list)
    for backbone, model in scores:
        plugin = model.partition("+")[2]
        alone = f"{reference}+refit" if plugin.rpartition("+")[2] == "refit" else reference
        peers = {"": alone, "same_plugins_": f"{reference}+{plugin}" if plugin else reference}
        for prefix, peer in peers.items():
            if peer != model and (backbone, peer) in scores:
                both = scores[backbone, model].index.intersection(scores[backbone, peer].index)
                alike[tuple(both)].append(((backbone, model), prefix, (backbone, peer)))
    for seeds, pairs in alike.items():
        if not seeds:
            continue
        named = {model for mine, _, peer in pairs for model in (mine, peer)}
        arrays = {model: scores[model].loc[list(seeds)].to_numpy() for model in named}
        gains = relative_gains([(arrays[mine], arrays[peer]) for mine, _, peer in pairs])
        for (mine, prefix, _), gain in zip(pairs, gains, strict=True):
            found[mine] |= {prefix + _ENDS[end]: np.nan if v is None else v for end, v in gain.items()}
    return found
