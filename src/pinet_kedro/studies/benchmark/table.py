"""Methods compared over seeds: one table, paired intervals over users and seeds."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Int

from pinet_kedro.activeness import ReportingStrata
from pinet_kedro.evaluation.intervals import relative_gains
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
        gains = {group: _gains(scores, mask, reference) for group, mask in groups.items()}
        for (backbone, model), mine in scores.items():
            for group, mask in groups.items():
                if not mask.any():
                    continue
                means = mine.loc[:, mask].mean(axis=1)
                row = {
                    "metric": metric, "backbone": backbone, "model": model, "group": group,
                    "users": int(mask.sum()), "seeds": len(mine), "value": float(means.mean()),
                    "seed_deviation": float(means.std(ddof=1)) if len(mine) > 1 else np.nan,
                }  # fmt: skip
                rows.append(row | gains[group][backbone, model])
    return pd.DataFrame(rows)


_ENDS = {"relative": "gain", "low": "low", "high": "high"}


def _gains(
    scores: dict[tuple[str, str], pd.DataFrame], mask: np.ndarray, reference: str
) -> dict[tuple[str, str], dict[str, float]]:
    """`gain, low, high` of every model over the reference, and `same_plugins_…` over that under the same plugins.

    A model after a refit is compared with the reference after a refit.
    """
    nothing = {prefix + end: np.nan for prefix in ("", "same_plugins_") for end in _ENDS.values()}
    found = {model: dict(nothing) for model in scores}
    within = {model: table.loc[:, mask] for model, table in scores.items()}
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
        arrays = {model: within[model].loc[list(seeds)].to_numpy() for model in named}
        gains = relative_gains([(arrays[mine], arrays[peer]) for mine, _, peer in pairs])
        for (mine, prefix, _), gain in zip(pairs, gains, strict=True):
            found[mine] |= {prefix + _ENDS[end]: np.nan if v is None else v for end, v in gain.items()}
    return found
