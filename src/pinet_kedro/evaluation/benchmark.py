"""Methods compared over seeds: one table, paired intervals over users and seeds."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Int

from pinet_kedro.activeness import ReportingStrata
from pinet_kedro.evaluation.intervals import relative_gain
from pinet_kedro.evaluation.metrics import user_metrics
from pinet_kedro.evaluation.ranks import Ranks


def benchmark_table(
    ranks: pd.DataFrame,
    activeness: Int[np.ndarray, " U"],
    strata: ReportingStrata,
    reference: str,
    metrics: Sequence[str] = ("ndcg_at_10",),
) -> pd.DataFrame:
    """One row for each metric, backbone, model and group of users.

    `value` is the mean over seeds and users, `seed_deviation` its standard deviation over seeds; `gain, low, high`
    compare with `reference` on the same backbone, `same_plugins_gain, …_low, …_high` with the reference under the same
    kind of plugins. `ranks` holds `backbone, model, seed, user, rank, candidates`; a comparison uses the seeds that
    both sides have.
    """
    users = np.sort(ranks["user"].unique())
    groups = strata.groups(activeness[users])
    measured = pd.DataFrame(user_metrics(Ranks(ranks["rank"].to_numpy(), ranks["candidates"].to_numpy())))
    values = pd.concat([ranks[["backbone", "model", "seed", "user"]].reset_index(drop=True), measured], axis=1)
    rows = []
    for metric in metrics:
        scores = {
            (str(backbone), str(model)): table.pivot_table(index="seed", columns="user", values=metric)
            for (backbone, model), table in values.groupby(["backbone", "model"], sort=False)
        }
        for (backbone, model), mine in scores.items():
            plugin = model.partition("+")[2]
            peer = f"{reference}+{plugin}" if plugin else reference
            others = {"": scores.get((backbone, reference)), "same_plugins_": scores.get((backbone, peer))}
            for group, mask in groups.items():
                means = mine.loc[:, mask].mean(axis=1)
                row = {
                    "metric": metric, "backbone": backbone, "model": model, "group": group,
                    "users": int(mask.sum()), "seeds": len(mine), "value": float(means.mean()),
                    "seed_deviation": float(means.std(ddof=1)) if len(mine) > 1 else np.nan,
                }  # fmt: skip
                for prefix, other in others.items():
                    row |= _gain(mine, other, mask, prefix)
                rows.append(row)
    return pd.DataFrame(rows)


def _gain(scores: pd.DataFrame, reference: pd.DataFrame | None, mask: np.ndarray, prefix: str) -> dict[str, float]:
    names = ("gain", "low", "high")
    if reference is None or scores is reference:
        return dict.fromkeys([prefix + name for name in names], np.nan)
    both = scores.index.intersection(reference.index)
    found = relative_gain(scores.loc[both].to_numpy()[:, mask], reference.loc[both].to_numpy()[:, mask])
    return {prefix + name: np.nan if v is None else v for name, v in zip(names, found.values(), strict=True)}
