"""The finalists of a study: trained again in full, on seeds that no trial had, and only then compared.

The best first value of many trials is partly luck. The shipped configuration is replaced only by a finalist whose gain
on validation targets has a 95 % interval above 0, over users and seeds. Test targets are reported and decide nothing.
"""

import logging
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from pydantic import Field

from pinet_kedro.configuration import Stored
from pinet_kedro.errors import InputError
from pinet_kedro.evaluation.intervals import relative_gains
from pinet_kedro.evaluation.metrics import user_metrics
from pinet_kedro.evaluation.ranks import Ranks
from pinet_kedro.plugins.config import PluginTraining
from pinet_kedro.reporting.text import gain_of, with_interval
from pinet_kedro.studies.benchmark.bench import Bench, Cell
from pinet_kedro.studies.benchmark.table import benchmark_table
from pinet_kedro.studies.tuning.plan import StudyPlan
from pinet_kedro.studies.tuning.study import Record
from pinet_kedro.studies.tuning.trial import GROUPS
from pinet_kedro.training.config import BackboneTraining

log = logging.getLogger("pinet_kedro")

BASE, SHIPPED = "base", "shipped"


class Choice(Stored):
    """A configuration that is trained in full, and why it was chosen."""

    label: str
    trial: int | None = Field(None, description="None: the shipped configuration, or its base")
    values: dict[str, Any] = Field({}, description="of the tuned parameters")
    training: BackboneTraining
    plugins: PluginTraining
    why: str = ""

    def cells(self, plan: StudyPlan) -> list[Cell]:
        """The training runs, one for each fresh seed."""
        training = self.training.joint() if self.label == BASE or plan.config.joint else self.training
        schedule = training.schedule.model_copy(update={"validate_every": plan.config.validate_every})
        changes = [{"seed": seed, "schedule": schedule} for seed in plan.config.finalists.seeds]
        return [Cell(self.label, training.model_copy(update=c), {"plugins": self.plugins}) for c in changes]


def train_finalists(plan: StudyPlan, record: Record, trials: pd.DataFrame) -> tuple[pd.DataFrame, Choice]:
    """The table of the finalists, and the choice. What an earlier run has trained is read.

    The table has one row for each candidate and group: `first` is the trial's value; `short` the mean over the fresh
    seeds at the same epoch; `valid` in full, with gains over the shipped configuration; `test` of the model alone and
    `pin` with plugins, with gains over the base. They have `…_deviation` over seeds, and `…_gain, …_low, …_high`.
    """
    # A stored model has one learning curve, of the head and tail that its training was validated on.
    head = f"head_from_{plan.dataset.strata.head_tail.thresholds[0]}"
    bench = Bench(plan.dataset, plan.folder / plan.config.folder / "finalists" / head)
    candidates = {candidate.label: candidate for candidate in _select(plan, record, trials)}
    shipped = SHIPPED if SHIPPED in candidates else BASE
    cells = [cell for candidate in candidates.values() for cell in candidate.cells(plan)]
    log.info("Training %s in full on seeds %s", ", ".join(candidates), list(plan.config.finalists.seeds))
    test = bench.run(cells, plan.config.workers, "Finalists in full")
    valid = pd.concat(bench.validation_ranks(cell, "plugins" if plan.space.tunes_plugins else None) for cell in cells)
    short = pd.concat(bench.curve(cell).load().assign(candidate=cell.method) for cell in cells)
    short = short[short["epoch"] == plan.epochs].groupby("candidate")
    tables = [
        benchmark_table(ranks.assign(backbone=kind), plan.dataset, reference)
        for kind, ranks, reference in (("valid", valid, shipped), ("test", test, BASE))
    ]
    found = pd.concat(tables).set_index(["backbone", "model", "group"]).to_dict("index")
    first, rows = trials.set_index("trial " + trials["number"].astype(str))[list(GROUPS)].stack(), []
    for label, group in product(candidates, ("all", *GROUPS)):
        curve = short.get_group(label)[f"valid_ndcg_at_10_{group}"]
        row = {"candidate": label, "group": group, "first": first.get((label, group), np.nan)}
        row |= {"short": curve.mean(), "short_deviation": curve.std()}
        pin = ("pin", ("test", f"{label}+plugins"), "same_plugins_")
        for name, place, peers in (("valid", ("valid", label), ""), ("test", ("test", label), ""), pin):
            values = found[*place, group]
            row |= {name: values["value"], f"{name}_deviation": values["seed_deviation"]}
            row |= {f"{name}_{end}": values[peers + end] for end in ("gain", "low", "high")}
        rows.append(row)
    return pd.DataFrame(rows), _choose(plan, candidates, shipped, valid)


def _select(plan: StudyPlan, record: Record, trials: pd.DataFrame) -> list[Choice]:
    """The base, the shipped configuration, the best trials of the front, and the trial named by `choose`."""
    labels = [BASE, SHIPPED] if plan.training.aggregation and not plan.config.joint else [BASE]
    selected = [Choice(label=label, training=plan.training, plugins=plan.plugins) for label in labels]
    done = trials[trials["state"] == "complete"].set_index("number")
    front = done.loc[list(record.front)]
    weighted = sum(share * front[group] / max(record.base[group], 1e-9) for group, share in _weights(plan).items())
    numbers = front.index[np.argsort(-np.asarray(weighted), kind="stable")][: plan.config.finalists.count].tolist()
    if (named := plan.config.choose) is not None and named not in numbers:
        if named not in done.index:
            known = ", ".join(map(str, done.index))
            raise InputError(f"tuning.choose = {named} is not a completed trial of the study; there are {known}.")
        numbers.append(named)
    for trial in (plan.study().get_trials(deepcopy=False)[number] for number in numbers):
        training, plugins = plan.space.configured(trial.params)
        candidate = {"label": f"trial {trial.number}", "trial": trial.number, "values": trial.params}
        selected.append(Choice(training=training, plugins=plugins, **candidate))
    return selected


def _choose(plan: StudyPlan, candidates: dict[str, Choice], shipped: str, valid: pd.DataFrame) -> Choice:
    """The finalist with the highest gain over the shipped configuration, if its interval is above 0; otherwise that.

    Compared is (1 − w) · head + w · tail, NDCG@10 of each relative to the shipped configuration's.
    """
    if (named := plan.config.choose) is not None:
        return candidates[f"trial {named}"].model_copy(update={"why": "named by tuning.choose"})
    metrics = user_metrics(Ranks(valid["rank"].to_numpy(), valid["candidates"].to_numpy()))
    scores = valid.assign(ndcg=metrics["ndcg_at_10"]).pivot_table("ndcg", ["model", "seed"], "user")
    ndcg = {label: scores.loc[label].to_numpy() for label in candidates}
    groups = plan.dataset.strata.groups(plan.dataset.activeness[scores.columns])
    able = [label for label, candidate in candidates.items() if candidate.trial is not None]
    if plan.objectives == ["tail"]:
        head = {label: values[:, groups["head"]].mean() for label, values in ndcg.items()}
        able = [label for label in able if head[label] >= head[BASE]]
    # As a mean over users: each counts the group's weight over what the whole group has in the reference.
    weight = np.zeros(len(scores.columns))
    for group, share in _weights(plan).items():
        weight[groups[group]] = share / max(ndcg[shipped][:, groups[group]].sum(), 1e-9)
    reference = ndcg[shipped] * weight
    gains = map(gain_of, relative_gains([(ndcg[label] * weight, reference) for label in able]))
    ranked = sorted(((gain, label) for gain, label in zip(gains, able, strict=True) if gain), reverse=True)
    over = f"on validation targets over the fresh seeds {', '.join(map(str, plan.config.finalists.seeds))}"
    for gain, label in ranked:
        if gain[1] > 0:
            return candidates[label].model_copy(update={"why": f"the best finalist {over}: {with_interval(gain)}"})
    best = f"; the best is {ranked[0][1]} with {with_interval(ranked[0][0])}" if ranked else ""
    return candidates[shipped].model_copy(update={"why": f"no finalist is significantly better {over}{best}"})


def _weights(plan: StudyPlan) -> dict[str, float]:
    tail = 1.0 if plan.objectives == ["tail"] else plan.config.tail_weight
    return {"head": 1 - tail, "tail": tail}
