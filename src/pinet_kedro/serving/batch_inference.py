"""The best items of every user as Arrow record batches, computed one block of users at a time as they are written."""

import logging
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from jaxtyping import Bool, Shaped

from pinet_kedro.dataset import Dataset
from pinet_kedro.errors import InputError
from pinet_kedro.evaluation.ranks import seen_items
from pinet_kedro.explanation import Reasons, contribution_names, explain_items, note
from pinet_kedro.interactions.sequences import Sequences
from pinet_kedro.progress import show_progress
from pinet_kedro.recommender import Recommender
from pinet_kedro.registry.loading import load_models
from pinet_kedro.registry.users import hash_users
from pinet_kedro.registry.versions import find_version
from pinet_kedro.reporting.text import event_day, share
from pinet_kedro.serving.config import BatchInference
from pinet_kedro.tracking.config import Tracking

log = logging.getLogger(__name__)

SCHEMA = pa.schema(
    [
        ("user_id", pa.string()),
        ("items", pa.list_(pa.string())),
        ("scores", pa.list_(pa.float32())),
        ("stratum", pa.string()),
        ("model_version", pa.string()),
    ]
)


def explained_schema(model: Recommender) -> pa.Schema:
    """`SCHEMA` with the fields of an explained answer over HTTP; contributions that a score does not have are null."""
    names = contribution_names(model)
    contributions = pa.struct([(name, pa.float32()) for name in names])
    entry = pa.struct([("contributions", contributions), ("because", pa.string()), ("share", pa.float64())])
    average = pa.struct([(name, pa.float64()) for name in names])
    return pa.schema([*SCHEMA, ("explained", pa.list_(entry)), ("average", average), ("note", pa.string())])


def prepare_recommendations(
    dataset: Dataset, user_ids: pd.Series, config: BatchInference, registry: Tracking
) -> "Recommendations":
    """Recommendations for all users of the dataset, from the registered version that `config` names.

    Raises `InputError` if more users of the version are missing from the dataset than `config.missing_users` allows.
    """
    if config.threads:
        torch.set_num_threads(config.threads)
    version = find_version(config.version, registry)
    log.info("Recommending with %s version %s (%s)", registry.model, version, config.version)
    models = load_models(version, registry)
    found = Recommendations(models.served, version, dataset, user_ids, config, registry)
    found.summary |= compare_users(models.users, user_ids, version, config.missing_users)
    compare_times(models.served_until, dataset, version)
    return found


def compare_times(learnt_until: int | None, dataset: Dataset, version: str) -> None:
    """Warns if the version has learnt events that are newer than all of these data."""
    newest = dataset.newest_event
    if learnt_until is not None and newest < learnt_until:
        log.warning(
            "Version %s has learnt events until %s, and these histories end on %s: lists may have items that users "
            "know now. retraining_batch_inference has the histories of the latest retraining; what a refresh has "
            "counted is in none until the next one.", version, event_day(learnt_until), event_day(newest),
        )  # fmt: skip


def compare_users(
    of_version: Shaped[np.ndarray, " U"] | None, user_ids: pd.Series, version: str, missing_allowed: float
) -> dict[str, int]:
    """`new_users` of the data, and `missing_users` of the version; empty for a version without a record of its users.

    Raises `InputError` if more than the share `missing_allowed` of the version's users are missing.
    """
    if of_version is None:
        log.warning(
            "Version %s has no record of its users, since an earlier release has registered it: whether some are "
            "missing from these data is not known.", version,
        )  # fmt: skip
        return {}
    here = hash_users(user_ids)
    missing = len(np.setdiff1d(of_version, here, assume_unique=True))
    lost = missing / max(len(of_version), 1)
    if lost > missing_allowed:
        raise InputError(
            f"version {version} was made for {len(of_version):,} users, and {missing:,} of them ({share(lost, 1)}) are "
            f"not among the {len(here):,} users of these data; batch_inference.missing_users allows "
            f"{share(missing_allowed, 1)}. Nothing has been written, and earlier recommendations stay as they are. Are "
            "these the right data? batch_inference answers for the users of data/05_model_input/dataset, "
            "retraining_batch_inference for those of the latest retraining. If these users have left, allow it: "
            f"--params=batch_inference.missing_users={math.ceil(lost * 100) / 100:g}"
        )
    return {"new_users": len(np.setdiff1d(here, of_version, assume_unique=True)), "missing_users": missing}


class Recommendations:
    """One row per user: `user_id`, the best `items` with their `scores`, `stratum` and `model_version`; with
    `config.explain`, also `explained`, `average` and `note`, as requests with `explain` get them.

    The whole history of a user counts; the model's policy decides whether seen items are recommended. Items that the
    model does not know are skipped; a user without known items gets popular and recent items.
    `summary` is complete after all batches have been iterated over.
    """

    def __init__(
        self,
        model: Recommender,
        version: str,
        dataset: Dataset,
        user_ids: pd.Series,
        config: BatchInference,
        registry: Tracking | None = None,
    ) -> None:
        """`registry`: where an engine fetches the version (`engines/recommendations.py`)."""
        self.version, self.config, self.registry = version, config, registry
        self.dataset, self.user_ids = dataset, user_ids
        self._model = model
        # The model's number of every item in the data; 0 where the model does not know it.
        known = pd.Index(model.item_ids.astype(str)).get_indexer(dataset.items["item_id"].astype(str))
        self._number = np.concatenate([[0], known + 1])
        self.schema = explained_schema(model) if config.explain else SCHEMA
        self._raw_ids = pa.array(model.item_ids.astype(str), pa.string())
        self.summary: dict[str, Any] = {
            "model_version": version, "k": config.k, "exclude_seen": model.exclude_seen, "users": 0,
            "users_without_history": 0, "unknown_items": int((known < 0).sum()), "skipped_events": 0,
        }  # fmt: skip

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        self.summary |= {"users": 0, "users_without_history": 0, "skipped_events": 0}
        users, block = self.dataset.sequences.n_users, self.config.block_users
        with show_progress("Recommending", users, "users") as done:
            for start in range(0, users, block):
                stop = min(start + block, users)
                yield self._recommend(start, stop)
                done(stop - start)

    def _recommend(self, start: int, stop: int) -> pa.RecordBatch:
        histories = self._known(start, stop)
        users, ends = np.arange(histories.n_users), histories.lengths
        length = min(max(int(ends.max()), 1), self._model.history_length)
        nothing = torch.empty(0, dtype=torch.int64)
        padded = torch.from_numpy(histories.windows(users, ends, length))
        best, columns = self._model.best(
            padded,
            ends,
            self.config.k,
            seen_items(histories, users, ends) if self._model.exclude_seen else (nothing, nothing),
        )
        left = torch.isfinite(best)
        offsets = pa.array(np.concatenate([[0], np.cumsum(left.sum(1).numpy())]), pa.int32())
        head = self._model.strata.head_tail.assign(ends) == 1
        self.summary["users"] += len(users)
        self.summary["users_without_history"] += int((ends == 0).sum())
        found = [
            pa.array(self.user_ids.iloc[start:stop].tolist(), pa.string()),  # of a large table they are in chunks
            pa.ListArray.from_arrays(offsets, self._raw_ids.take(pa.array(columns[left].numpy()))),
            pa.ListArray.from_arrays(offsets, pa.array(best[left].numpy(), pa.float32())),
            pa.array(np.where(head, "head", "tail"), pa.string()),
            pa.repeat(self.version, len(users)),
        ]
        if self.config.explain:
            why = explain_items(self._model, padded, ends, columns.numpy())
            notes = pa.array([note(self._model, length) for length in (ends > 0).tolist()], pa.string())
            found += [
                pa.ListArray.from_arrays(offsets, self._explained(why, left.numpy())),
                _struct(why.average),
                notes,
            ]
        return pa.record_batch(found, schema=self.schema)

    def _explained(self, why: Reasons, left: Bool[np.ndarray, "B K"]) -> pa.StructArray:
        """One entry for each item that is recommended, user by user."""
        because = why.because[left]
        parts = {
            "contributions": _struct({name: values[left] for name, values in why.contributions.items()}),
            "because": self._raw_ids.take(pa.array(because - 1, mask=because == 0)),
            "share": pa.array(why.share[left], mask=because == 0),
        }
        return pa.StructArray.from_arrays(list(parts.values()), list(parts))

    def _known(self, start: int, stop: int) -> Sequences:
        """These users' histories in the model's item numbers, without the items that it does not know."""
        bounds = self.dataset.sequences.offsets[start : stop + 1]
        events = slice(bounds[0], bounds[-1])
        items = self._number[self.dataset.sequences.items[events]]
        user = np.repeat(np.arange(stop - start), np.diff(bounds))
        known = items > 0
        self.summary["skipped_events"] += int((~known).sum())
        offsets = np.zeros(stop - start + 1, np.int64)
        np.cumsum(np.bincount(user[known], minlength=stop - start), out=offsets[1:])
        return Sequences(items[known].astype(np.int32), self.dataset.sequences.timestamps[events][known], offsets)


def _struct(values: dict[str, np.ndarray]) -> pa.StructArray:
    """One entry per value; NaN is null."""
    return pa.StructArray.from_arrays([pa.array(part, from_pandas=True) for part in values.values()], list(values))
