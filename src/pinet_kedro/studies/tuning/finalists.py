"""The finalists of a study: trained again in full, on seeds that no trial had, and only then compared.

The best first value of many trials is partly luck. The choice is made on validation targets over the fresh seeds. The
shipped configuration is replaced only by a finalist whose gain has a 95 % interval above 0, over users and seeds. Test
targets are reported, beside those of the shipped configuration and of the base, and decide nothing.
"""

import logging
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
from pinet_kedro.plugins.config import PluginTraining
from pinet_kedro.reporting.text import gain_of, with_interval
from pinet_kedro.studies.benchmark.bench import Bench, Cell
from pinet_kedro.studies.benchmark.table import benchmark_table
from pinet_kedro.studies.tuning.plan import StudyPlan
from pinet_kedro.studies.tuning.study import Record
from pinet_kedro.studies.tuning.trial import GROUPS
from pinet_kedro.training.config import BackboneTraining
from pinet_kedro.training.cross_fit import cross_fitted_ranks

log = logging.getLogger("pinet_kedro")

BASE, SHIPPED = "base", "shipped"


class Candidate(Stored):
    """A configuration that is trained in full."""

    label: str
    trial: int | None = Field(None, description="None: the shipped configuration, or its base")
    values: dict[str, Any] = Field({}, description="of the tuned parameters")
    training: BackboneTraining
    plugins: PluginTraining

    def cells(self, plan: StudyPlan) -> list[Cell]:
        """The training runs, one for each fresh seed."""
        training = self.training.joint() if self.label == BASE or plan.config.joint else self.training
        schedule = training.schedule.model_copy(update={"validate_every": plan.config.validate_every})
        changes = [{"seed": seed, "schedule": schedule} for seed in plan.config.finalists.seeds]
        return [Cell(self.label, training.model_copy(update=c), {"plugins": self.plugins}) for c in changes]


class Choice(Candidate):
    """The candidate that was chosen."""

    why: str


def train_finalists(plan: StudyPlan, record: Record, trials: pd.DataFrame) -> tuple[pd.DataFrame, Choice]:
    """The table of the finalists, and the choice. What an earlier run has trained is read.

    The table has one row for each candidate and group (all, head, tail): `first` is the trial's value; `short` the mean
    over the fresh seeds at the same epoch; `valid` in full, with gains over the shipped configuration; `test` of the
    model alone and `pin` with plugins, with gains over the base. Each has `…_deviation` over seeds, and `…_gain, …_low,
    …_high`.
    """
    dataset, bench = plan.dataset, Bench(plan.dataset, plan.folder / plan.config.folder / "finalists")
    candidates = _select(plan, record, trials)
    shipped = [candidate.label for candidate in candidates if candidate.trial is None][-1]
    cells = {candidate.label: candidate.cells(plan) for candidate in candidates}
    log.info("Training %s in full on seeds %s", ", ".join(cells), ", ".join(map(str, plan.config.finalists.seeds)))
    test = bench.run([cell for several in cells.values() for cell in several], plan.config.workers)
    valid = pd.concat([_validated(plan, bench, cell) for several in cells.values() for cell in several])
    choice = _choose(plan, candidates, shipped, valid)

    values: dict[tuple[str, str], dict[str, float]] = {}
    for kind, ranks, reference in (("valid", valid, shipped), ("test", test, BASE)):
        table = benchmark_table(ranks.assign(backbone="all"), dataset.activeness, dataset.strata, reference)
        for row in table.to_dict("records"):
            label, _, variant = row["model"].partition("+")
            name, prefix = ("pin", "same_plugins_") if variant == "plugins" else (kind, "")
            if variant in ("", "plugins") and row["group"] in ("all", *GROUPS):
                ends = {f"{name}_{end}": row[prefix + end] for end in ("gain", "low", "high")}
                found = {name: row["value"], f"{name}_deviation": row["seed_deviation"], **ends}
                values.setdefault((label, row["group"]), {}).update(found)
    first, rows = trials.set_index("number").to_dict("index"), []
    for candidate in candidates:
        curves = [bench.curve(cell).load().set_index("epoch").loc[plan.epochs] for cell in cells[candidate.label]]
        for group in ("all", *GROUPS):
            short = pd.Series([curve[f"valid_ndcg_at_10_{group}"] for curve in curves])
            rows.append(
                {
                    "candidate": candidate.label, "group": group, "seeds": len(curves),
                    "first": first.get(candidate.trial, {}).get(group, np.nan),
                    "short": short.mean(), "short_deviation": short.std(), **values[candidate.label, group],
                }
            )  # fmt: skip
    return pd.DataFrame(rows), choice


def _select(plan: StudyPlan, record: Record, trials: pd.DataFrame) -> list[Candidate]:
    """The base, the shipped configuration, the best trials of the front, and the trial named by `choose`."""
    shipped = {"training": plan.training, "plugins": plan.plugins}
    selected = [Candidate(label=BASE, **shipped)]
    if plan.training.aggregation and not plan.config.joint:
        selected.append(Candidate(label=SHIPPED, **shipped))
    done = trials[trials["state"] == "complete"].set_index("number")
    front = done.loc[list(record.front)]
    weighted = sum(share * front[group] / max(record.base[group], 1e-9) for group, share in _weights(plan).items())
    numbers = front.index[np.argsort(-np.asarray(weighted), kind="stable")][: plan.config.finalists.count].tolist()
    if (named := plan.config.choose) is not None and named not in numbers:
        if named not in done.index:
            raise InputError(
                f"tuning.choose = {named} is not a completed trial of study {plan.name}; there are "
                f"{', '.join(map(str, done.index))}."
            )
        numbers.append(named)
    for trial in (plan.study().get_trials(deepcopy=False)[number] for number in numbers):
        training, plugins = plan.space.configured(trial.params)
        candidate = {"label": f"trial {trial.number}", "trial": trial.number, "values": trial.params}
        selected.append(Candidate(training=training, plugins=plugins, **candidate))
    return selected


def _validated(plan: StudyPlan, bench: Bench, cell: Cell) -> pd.DataFrame:
    """Rank of every validation target under a cell's model; stored, so that it is computed once."""
    store = ParquetDataset(filepath=str(bench.folder / "validation" / f"{cell.name(plan.dataset)}.parquet"))
    if not store.exists():
        dataset, model = plan.dataset, bench.model(cell).load()
        users, split = dataset.validation_users, dataset.split
        if plan.space.tunes_plugins:
            ranks = cross_fitted_ranks(model.backbone, dataset, cell.plugins["plugins"])
        else:
            ranks = target_ranks(model, dataset.sequences, users, split.valid_at[users], split.exclude_seen)
        store.save(pd.DataFrame({"user": users, "rank": ranks.rank, "candidates": ranks.candidates}))
    return store.load().assign(model=cell.method, seed=cell.training.seed)


def _choose(plan: StudyPlan, candidates: list[Candidate], shipped: str, valid: pd.DataFrame) -> Choice:
    """The finalist with the highest gain over the shipped configuration, if its interval is above 0; otherwise that.

    Compared is (1 − w) · head + w · tail, NDCG@10 of each relative to the shipped configuration's.
    """
    by_label, config = {candidate.label: dict(candidate) for candidate in candidates}, plan.config
    if config.choose is not None:
        return Choice(**by_label[f"trial {config.choose}"], why="named by tuning.choose")
    metrics = user_metrics(Ranks(valid["rank"].to_numpy(), valid["candidates"].to_numpy()))
    scores = valid.assign(ndcg=metrics["ndcg_at_10"]).pivot_table("ndcg", ["model", "seed"], "user")
    ndcg = {label: scores.loc[label].to_numpy() for label in by_label}
    groups = plan.dataset.strata.groups(plan.dataset.activeness[scores.columns])
    able = [candidate.label for candidate in candidates if candidate.trial is not None]
    if plan.objectives == ["tail"]:
        head = {label: values[:, groups["head"]].mean() for label, values in ndcg.items()}
        able, how = [label for label in able if head[label] >= head[BASE]], "the head not below the base's"
    else:
        how = f"with a weight of {config.tail_weight:g} on the tail"
    # As a mean over users: each counts the group's weight over what the whole group has in the reference.
    weight = np.zeros(len(scores.columns))
    for group, share in _weights(plan).items():
        weight[groups[group]] = share / max(ndcg[shipped][:, groups[group]].sum(), 1e-9)
    reference = ndcg[shipped] * weight
    gains = map(gain_of, relative_gains([(ndcg[label] * weight, reference) for label in able]))
    ranked = sorted(((gain, label) for gain, label in zip(gains, able, strict=True) if gain), reverse=True)
    over = f"on validation targets over the fresh seeds {', '.join(map(str, config.finalists.seeds))}, {how}"
    for gain, label in ranked:
        if gain[1] > 0:
            return Choice(**by_label[label], why=f"the best finalist {over}: {with_interval(gain)}")
    best = f"; the best is {ranked[0][1]} with {with_interval(ranked[0][0])}" if ranked else ""
    return Choice(**by_label[shipped], why=f"no finalist is significantly better {over}{best}")


def _weights(plan: StudyPlan) -> dict[str, float]:
    """How much the NDCG of head and tail counts in the choice."""
    tail = 1.0 if plan.objectives == ["tail"] else plan.config.tail_weight
    return {"head": 1 - tail, "tail": tail}
