"""The evaluation of a run: metrics of every model by group of users, and gains over the base."""

from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Int

from pinet_kedro.activeness import ReportingStrata
from pinet_kedro.dataset import Dataset
from pinet_kedro.evaluation.beyond_accuracy import COLD, LONG_TAIL, beyond_accuracy, item_facts
from pinet_kedro.evaluation.intervals import RESAMPLES, relative_gains
from pinet_kedro.evaluation.metrics import metrics_by_group, user_metrics
from pinet_kedro.evaluation.ranks import CUT_OFF, Ranks, ranks_of

REFERENCE = "base"
REFIT = "refit_"  # begins the name of a model after a refit
_POLICY = {
    True: "items in the history excluded, and no targets where they are the next event",
    False: "items in the history ranked like all others",
}


def compare(ranks: pd.DataFrame, dataset: Dataset) -> dict[str, Any]:
    """`models`: metrics of every model and group; `comparisons`: paired relative gains in NDCG@10.

    Measures beyond accuracy are among the metrics of all, head and tail users, and their differences from the base
    among the comparisons of PIN and of the backbone. `ranks` are those of `rank_models`, of all test targets. Models
    after a refit are left out, because they have learnt more events than all others (`compare_as_shipped`).
    """
    by_model = {name: of for name, of in _by_model(ranks).items() if not name.startswith(REFIT)}
    pairs = [(name, REFERENCE) for name in by_model if name != REFERENCE]
    # Gains of the aggregation with the same plugins, of a backbone over plugins alone, and of strata over one plugin.
    # PIN is one of `base_plugins` and `backbone_plugins`, and then has no other name.
    plugged = "base_plugins" if "base_plugins" in by_model else "pin"
    aggregation = [("pin", "base_plugins"), ("backbone_plugins", "pin")]
    ablations = [*aggregation, (plugged, "plugins_alone"), (plugged, "base_shared_plugin")]
    pairs += [pair for pair in ablations if set(pair) <= set(by_model)]
    named = {f"{model}_vs_{reference}": (model, reference) for model, reference in pairs}
    groups = _groups(ranks, dataset)
    models = {name: metrics_by_group(of, groups) for name, of in by_model.items()}
    reading = {"models": models, "comparisons": _gains(by_model, named, groups)}
    return _with_beyond(reading, by_model, ranks, dataset)


def compare_as_shipped(ranks: pd.DataFrame, dataset: Dataset) -> dict[str, Any] | None:
    """As `compare`, for base and PIN as they ship, after a refit on all events before the test part; None without one.

    `pin_vs_base` is PIN's gain where both have learnt the same events; `refit_pin_vs_pin` and `refit_base_vs_base` are
    the gains of the refit.
    """
    by_model, groups = _by_model(ranks), _groups(ranks, dataset)
    shipped = {name.removeprefix(REFIT): of for name, of in by_model.items() if name.startswith(REFIT)}
    if not shipped:
        return None
    named = {"pin_vs_base": (f"{REFIT}pin", f"{REFIT}base")}
    named |= {f"{REFIT}{name}_vs_{name}": (f"{REFIT}{name}", name) for name in shipped}
    models = {name: metrics_by_group(of, groups) for name, of in shipped.items()}
    reading = {"models": models, "comparisons": _gains(by_model, named, groups)}
    return _with_beyond(reading, shipped, ranks, dataset)


def _by_model(ranks: pd.DataFrame) -> dict[str, Ranks]:
    return {str(name): ranks_of(table) for name, table in ranks.groupby("model", sort=False)}


def _users(ranks: pd.DataFrame) -> Int[np.ndarray, " U"]:
    """The users of every model's ranks."""
    return ranks.loc[ranks["model"] == ranks["model"].iloc[0], "user"].to_numpy()


def _groups(ranks: pd.DataFrame, dataset: Dataset) -> dict[str, np.ndarray]:
    """Masks over the users of every model's ranks, by group."""
    return dataset.strata.groups(dataset.activeness[_users(ranks)])


def _with_beyond(
    reading: dict[str, Any], by_model: dict[str, Ranks], ranks: pd.DataFrame, dataset: Dataset
) -> dict[str, Any]:
    """The reading with the measures beyond accuracy in its models, and their differences in its comparisons."""
    models, differences = beyond_accuracy(by_model, _users(ranks), dataset)
    more = {"models": models, "comparisons": {f"{name}_vs_{REFERENCE}": of for name, of in differences.items()}}
    return {
        part: {
            name: {group: values | more[part].get(name, {}).get(group, {}) for group, values in groups.items()}
            for name, groups in entries.items()
        }
        for part, entries in reading.items()
    }


def _gains(
    by_model: dict[str, Ranks], named: dict[str, tuple[str, str]], groups: dict[str, np.ndarray]
) -> dict[str, dict[str, Any]]:
    """Gains of every named pair, a model and its reference, by group."""
    ndcg = {name: user_metrics(by_model[name])["ndcg_at_10"] for pair in named.values() for name in pair}
    comparisons: dict[str, dict[str, Any]] = {name: {} for name in named}
    for group in ("all", "head", "tail"):
        within = {name: values[groups[group]] for name, values in ndcg.items()}
        gains = relative_gains([(within[model], within[reference]) for model, reference in named.values()])
        for entry, gain in zip(comparisons.values(), gains, strict=True):
            entry[group] = {"ndcg_at_10": gain}
    return comparisons


def metrics_table(evaluation: dict[str, Any]) -> pd.DataFrame:
    """The `models` part of an evaluation as a table, one row per model and group."""
    return pd.DataFrame(
        [
            {"model": model, "group": group, **values}
            for model, groups in evaluation["models"].items()
            for group, values in groups.items()
        ]
    )


def describe_data(dataset: Dataset, cleaning: pd.DataFrame) -> dict[str, Any]:
    """The data of an evaluation: sizes, times of events, rows that cleaning dropped, a hash of the indexed log."""
    split, first = dataset.split, dataset.sequences.offsets[:-1][dataset.sequences.lengths > 0]
    return {
        "name": str(cleaning["source"].iloc[0]),
        "sha256": dataset.sha256,
        "users": dataset.n_users,
        "items": dataset.n_items,
        **({"items_without_events": more} if (more := dataset.n_items - dataset.logged.n_items) else {}),
        "events": len(dataset.sequences.items),
        "training_events": int(np.sum(split.train_end)),
        "validation_targets": len(dataset.validation_users),
        "test_targets": len(dataset.test_users),
        "validation_targets_seen_before": split.repeated_valid,
        "test_targets_seen_before": split.repeated_test,
        "oldest_event": int(dataset.sequences.timestamps[first].min()),
        "newest_event": {
            "training": _newest(dataset, split.train_end),
            "before_test": _newest(dataset, split.test_from),
            "all": _newest(dataset, dataset.sequences.lengths),
        },
        **item_facts(dataset).described(),
        "dropped_rows": {str(rule): int(rows) for rule, rows in zip(cleaning["rule"], cleaning["rows"], strict=True)},
    }


def _newest(dataset: Dataset, end: Int[np.ndarray, " U"]) -> int:
    """Time of the newest of the events `[0, end)` of all users (ns, or its position where a log has no clock)."""
    known = np.flatnonzero(end > 0)
    return int(dataset.sequences.timestamps[dataset.sequences.offsets[known] + end[known] - 1].max())


def describe_protocol(strata: ReportingStrata, parameters: dict[str, Any]) -> dict[str, Any]:
    """The protocol of an evaluation, in words and parameters."""
    head_share = f"{parameters['stratification']['head_share'] * 100:g} %"
    return {
        "split": parameters["splitting"]["rule"],
        "ranking": f"whole catalogue, {_POLICY[parameters['exclude_seen']]}, ties count half",
        "routing": "to the plugin of the stratum of the history's length, the events that are known when asked",
        "activeness": "events in the training part of the history",
        "head": f"{strata.head_tail.labels()[1]} (nearest to the top {head_share})",
        "quintiles": "; ".join(strata.quintiles.labels()),
        "training_strata": "; ".join(strata.training.labels()),
        "cut_off": CUT_OFF,
        "long_tail_items": f"the least popular items that together have {LONG_TAIL * 100:.0f} % of the training events",
        "cold_items": f"items with fewer than {COLD} training events",
        "interval": f"95 %, paired percentile bootstrap over users, {RESAMPLES} resamples",
        "seed": parameters["backbone_training"]["seed"],
        "selection": "fixed number of epochs; plugins fitted on validation targets; nothing chosen on test",
    }
