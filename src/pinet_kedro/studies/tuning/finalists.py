"""The finalists of a study: trained again, in full and on seeds that no trial had, and only then compared.

A trial's first value is the luckiest of many on one seed. The choice is made on validation targets over the fresh
seeds, and what is shipped gives way only to a finalist that is better beyond what users and seeds leave in doubt; the
test targets are reported, beside those of the shipped configuration and of the base, and decide nothing.
"""

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from pydantic import Field

from pinet_kedro.configuration import Stored
from pinet_kedro.datasets.files import ParquetDataset
from pinet_kedro.errors import InputError
from pinet_kedro.evaluation.intervals import relative_gains
from pinet_kedro.evaluation.metrics import user_metrics
from pinet_kedro.evaluation.ranks import Ranks, target_ranks
from pinet_kedro.parameters import plain
from pinet_kedro.plugins.config import PluginTraining
from pinet_kedro.reporting.text import gain_of, with_interval
from pinet_kedro.studies.benchmark.bench import Bench, Cell
from pinet_kedro.studies.benchmark.table import benchmark_table
from pinet_kedro.studies.tuning.plan import Plan
from pinet_kedro.studies.tuning.study import Record
from pinet_kedro.studies.tuning.trial import GROUPS
from pinet_kedro.training.config import BackboneTraining
from pinet_kedro.training.cross_fit import cross_fitted_ranks

log = logging.getLogger("pinet_kedro")

BASE, SHIPPED = "base", "shipped"
_VARIANT = "plugins"


class Choice(Stored):
    """What was chosen, and what follows from it."""

    label: str
    trial: int | None = Field(description="None: the shipped configuration itself")
    why: str
    values: dict[str, Any] = Field(description="of the tuned parameters")
    training: dict[str, Any]
    plugins: dict[str, Any]


@dataclass(frozen=True)
class Candidate:
    """A configuration that is trained in full; `trial` is None for what no trial has tried."""

    label: str
    training: BackboneTraining
    plugins: PluginTraining
    joint: bool
    trial: int | None = None
    values: dict[str, Any] | None = None


def hold_finals(plan: Plan, record: Record, trials: pd.DataFrame) -> tuple[pd.DataFrame, Choice]:
    """The table of the finalists, and the choice. What an earlier run has trained is read.

    One row for each candidate and group (all, head, tail): `first` is the trial's value; `short` and `short_deviation`
    are mean and deviation over the fresh seeds at the same epoch; `valid…` in full, `valid_gain, valid_low, valid_high`
    against the shipped configuration; `test…` of the model alone and with plugins, gains against the base alike.
    """
    bench = Bench(plan.data, plan.results / "finalists")
    candidates = _candidates(plan, record, trials)
    log.info("Training %s in full on seeds %s", ", ".join(c.label for c in candidates), _seeds(plan))
    cells = {candidate.label: _cells(plan, candidate) for candidate in candidates}
    ranks = [bench.run([cell for some in cells.values() for cell in some], plan.config.workers)]
    valid = _on_validation(plan, bench, candidates, cells)
    chosen, why = _choose(plan, candidates, valid)
    if not chosen.joint and chosen.trial is not None:
        # The base under the chosen settings, which were tuned for another: what is left is the aggregation's.
        twin = Candidate(f"{BASE} as {chosen.label}", chosen.training, chosen.plugins, joint=True)
        cells[twin.label] = _cells(plan, twin)
        ranks.append(bench.run(cells[twin.label], plan.config.workers))
        candidates.append(twin)
        more = _on_validation(plan, bench, [twin], cells)
        valid = pd.concat([valid, more], ignore_index=True)
    table = _table(plan, bench, candidates, cells, trials, valid, pd.concat(ranks, ignore_index=True))
    return table, _described(chosen, why)


def _seeds(plan: Plan) -> str:
    return ", ".join(map(str, plan.config.finalists.seeds))


def _candidates(plan: Plan, record: Record, trials: pd.DataFrame) -> list[Candidate]:
    """The base, the shipped configuration, and the best trials of the front."""
    out = [Candidate(BASE, plan.training, plan.plugins, joint=True)]
    if not plan.shipped_joint:
        out.append(Candidate(SHIPPED, plan.training, plan.plugins, joint=False))
    done = trials[trials["state"] == "complete"].set_index("number")
    best = done.loc[list(record.front)].copy()
    best["worth"] = _worth(plan, {g: best[g] for g in GROUPS}, record.base)
    numbers = best.sort_values("worth", ascending=False, kind="stable").index[: plan.config.finalists.count].tolist()
    if plan.config.choose is not None and plan.config.choose not in numbers:
        if plan.config.choose not in done.index:
            raise InputError(
                f"tuning.choose = {plan.config.choose} is no trial of study {plan.name} that has come to its end; "
                f"there are {', '.join(map(str, done.index))}."
            )
        numbers.append(plan.config.choose)
    study = plan.load()
    for number in numbers:
        values = study.get_trials(deepcopy=False)[number].params
        training, plugins = plan.space.configured(values)
        joint = plan.aggregation(training) is None
        out.append(Candidate(f"trial {number}", training, plugins, joint, number, values))
    return out


def _worth(plan: Plan, ndcg: dict[str, Any], reference: dict[str, float]) -> Any:
    """What a business that weighs the groups so would choose by: (1 − w) · head + w · tail, relative to a reference."""
    return sum(w * ndcg[group] / max(reference[group], 1e-9) for group, w in _weights(plan).items())


def _weights(plan: Plan) -> dict[str, float]:
    tail = plan.config.tail_weight if plan.two_objectives else 1.0
    return {"head": 1 - tail, "tail": tail}


def _cells(plan: Plan, candidate: Candidate) -> list[Cell]:
    schedule = candidate.training.schedule.model_copy(update={"validate_every": plan.config.validate_every})
    aggregation = None if candidate.joint else candidate.training.aggregation
    training = candidate.training.model_copy(update={"schedule": schedule, "aggregation": aggregation})
    return [
        Cell(candidate.label, training.model_copy(update={"seed": seed}), {_VARIANT: candidate.plugins})
        for seed in plan.config.finalists.seeds
    ]


def _on_validation(plan: Plan, bench: Bench, candidates: list[Candidate], cells: dict[str, list[Cell]]) -> pd.DataFrame:
    """Rank of every validation target under every candidate and seed; stored, so that it is done once."""
    users = np.flatnonzero(plan.data.split.valid_at > 0)
    found = []
    for candidate in candidates:
        for cell in cells[candidate.label]:
            name = f"{cell.name(bench.dataset)}.parquet"
            store = ParquetDataset(filepath=str(bench.folder / "validation" / name))
            if not store.exists():
                store.save(_validated(plan, bench, candidate, cell, users))
            found.append(store.load().assign(model=candidate.label, seed=cell.training.seed, backbone="all"))
    return pd.concat(found, ignore_index=True)


def _validated(plan: Plan, bench: Bench, candidate: Candidate, cell: Cell, users: np.ndarray) -> pd.DataFrame:
    data, model = plan.data, bench.model(cell).load()
    if plan.space.tunes_plugins:
        ranks = cross_fitted_ranks(model.backbone, data, candidate.plugins)
    else:
        ranks = target_ranks(model, data.sequences, users, data.split.valid_at[users], data.split.exclude_seen)
    return pd.DataFrame({"user": users, "rank": ranks.rank, "candidates": ranks.candidates})


def _choose(plan: Plan, candidates: list[Candidate], valid: pd.DataFrame) -> tuple[Candidate, str]:
    """The finalist that is worth most over the fresh seeds, of those whose gain in worth has an interval above 0; the
    shipped configuration where there is none. And why."""
    by_label = {candidate.label: candidate for candidate in candidates}
    if plan.config.choose is not None:
        return by_label[f"trial {plan.config.choose}"], "named by tuning.choose"
    shipped = BASE if plan.shipped_joint else SHIPPED
    able = [candidate.label for candidate in candidates if candidate.trial is not None]
    if not plan.two_objectives:
        means = _means(plan, valid)
        able = [label for label in able if means[label]["head"] >= means[BASE]["head"]]
    gains = _gains_in_worth(plan, valid, able, shipped)
    ranked = sorted(gains, key=lambda label: -gains[label][0])
    over = f"on validation targets over the fresh seeds {_seeds(plan)}"
    if plan.two_objectives:
        over += f", the tail counting {plan.config.tail_weight:g} of 1"
    else:
        over += ", the head not below the base's"
    for label in ranked:
        _, low, _ = gains[label]
        if low > 0:
            return by_label[label], f"the best finalist {over}: {with_interval(gains[label])}"
    best = f"; the best is {ranked[0]} with {with_interval(gains[ranked[0]])}" if ranked else ""
    return by_label[shipped], f"no finalist is better beyond doubt {over}{best}"


def _gains_in_worth(
    plan: Plan, valid: pd.DataFrame, labels: list[str], shipped: str
) -> dict[str, tuple[float, float, float]]:
    """Relative gain of each candidate over the shipped configuration in worth, (1 − w) · head + w · tail, each relative
    to the latter's, and its 95 % interval over users and seeds; none where the latter is 0."""
    metrics = user_metrics(Ranks(valid["rank"].to_numpy(), valid["candidates"].to_numpy()))
    scores = valid.assign(ndcg=metrics["ndcg_at_10"])
    ndcg = {
        label: scores[scores["model"] == label].pivot_table(index="seed", columns="user", values="ndcg").to_numpy()
        for label in (shipped, *labels)
    }
    groups = plan.data.strata.groups(np.asarray(plan.data.split.train_end)[np.sort(valid["user"].unique())])
    # As a mean over users: each counts its group's weight over what the whole group has in the reference.
    weight = np.zeros(ndcg[shipped].shape[1])
    for group, share in _weights(plan).items():
        weight[groups[group]] = share / max(ndcg[shipped][:, groups[group]].sum(), 1e-9)
    reference = ndcg[shipped] * weight
    found = map(gain_of, relative_gains([(ndcg[label] * weight, reference) for label in labels]))
    return {label: gain for label, gain in zip(labels, found, strict=True) if gain is not None}


def _means(plan: Plan, valid: pd.DataFrame) -> dict[str, dict[str, float]]:
    table = _compared(plan, valid, str(valid["model"].iloc[0]))
    values = table.pivot_table(index="model", columns="group", values="value")
    return {str(label): {group: float(row[group]) for group in GROUPS} for label, row in values.iterrows()}


def _compared(plan: Plan, ranks: pd.DataFrame, reference: str) -> pd.DataFrame:
    table = benchmark_table(ranks, np.asarray(plan.data.split.train_end), plan.data.strata, reference)
    return table[table["group"].isin(["all", *GROUPS])]


def _table(
    plan: Plan, bench: Bench, candidates: list[Candidate], cells: dict[str, list[Cell]], trials: pd.DataFrame,
    valid: pd.DataFrame, test: pd.DataFrame,
) -> pd.DataFrame:  # fmt: skip
    shipped = BASE if plan.shipped_joint else SHIPPED
    on_valid, on_test = _by_model(plan, valid, shipped), _by_model(plan, test.assign(backbone="all"), BASE)
    first = trials.set_index("number").to_dict("index")
    rows = []
    for candidate in candidates:
        curves = [bench.curve(cell).load().set_index("epoch") for cell in cells[candidate.label]]
        for group in ("all", *GROUPS):
            short = pd.concat([curve.loc[[plan.epochs], f"valid_ndcg_at_10_{group}"] for curve in curves])
            lucky = first[candidate.trial].get(group) if candidate.trial is not None else None
            rows.append(
                {
                    "candidate": candidate.label, "group": group, "seeds": len(curves),
                    "first": np.nan if lucky is None else lucky,
                    "short": float(short.mean()), "short_deviation": float(short.std(ddof=1)),
                    **_columns("valid", on_valid[candidate.label, group], "gain", "low", "high"),
                    **_columns("test", on_test[candidate.label, group], "gain", "low", "high"),
                    **_columns("pin", on_test[f"{candidate.label}+{_VARIANT}", group],
                               *(f"same_plugins_{end}" for end in ("gain", "low", "high"))),
                }
            )  # fmt: skip
    return pd.DataFrame(rows)


def _by_model(plan: Plan, ranks: pd.DataFrame, reference: str) -> dict[tuple[str, str], dict[str, Any]]:
    rows = _compared(plan, ranks, reference).to_dict("records")
    return {(row["model"], row["group"]): {str(key): value for key, value in row.items()} for row in rows}


def _columns(kind: str, row: dict[str, Any], *gain: str) -> dict[str, float]:
    ends = {f"{kind}_{end}": row[name] for end, name in zip(("gain", "low", "high"), gain, strict=True)}
    return {kind: row["value"], f"{kind}_deviation": row["seed_deviation"], **ends}


def _described(chosen: Candidate, why: str) -> Choice:
    return Choice(
        label=chosen.label, trial=chosen.trial, why=why, values=chosen.values or {},
        training=plain(chosen.training), plugins=plain(chosen.plugins),
    )  # fmt: skip
