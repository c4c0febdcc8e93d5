"""Loads the models of a registered version with this project's code."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from jaxtyping import Shaped
from safetensors import SafetensorError

from pinet_kedro.dataset import Dataset
from pinet_kedro.reading.nanoseconds import CLOCK, in_nanoseconds
from pinet_kedro.recommender import Recommender
from pinet_kedro.registry.users import USERS, read_users
from pinet_kedro.registry.versions import UnreadableVersionError, fetch_version
from pinet_kedro.tracking import runs as tracking
from pinet_kedro.tracking.config import Tracking

SERVED, JUDGED = "recommender", "judged"  # folders of a version's two models
# Tags: the time of the newest event that each of the two has learnt from, validation targets included (ns).
LEARNT_UNTIL = {SERVED: "learnt.until", JUDGED: "judged.until"}
# Tag: which part of its log a version holds out (`held_out`); versions of earlier releases do not have it.
HELD_OUT = "data.held_out"


@dataclass(frozen=True)
class VersionModels:
    """The model that a version serves, and, after a refit, the one that evaluation and promotion judge.

    Both have the same configuration and plugins; the judged one has learnt everything before the test part of its log,
    the served one all of it. `served_until` and `judged_until`: time of the newest event that they have learnt from
    (ns), None if unknown. `users`: hashes of the users of its log (`registry.users`), None if unknown. `held_out`: that
    of its log, for registration.
    """

    served: Recommender
    judged: Recommender | None = None
    served_until: int | None = None
    judged_until: int | None = None
    users: Shaped[np.ndarray, " U"] | None = None
    held_out: str | None = None

    def unseen(self, since: int) -> Recommender | None:
        """The model that has learnt nothing from this time on (ns), the served one if possible; None if neither."""
        if self.served_until is not None and self.served_until < since:
            return self.served
        return self.judged if self.judged_until is not None and self.judged_until < since else None

    def compared(self, since: int) -> Recommender:
        """The model for targets from this time on: `unseen`, or else the one that has learnt fewest of them."""
        return self.unseen(since) or self.judged or self.served


def held_out(dataset: Dataset) -> str:
    """Hash of where the test part of each history begins: a model may have learnt that of another split of its log."""
    return hashlib.sha256(np.asarray(dataset.split.test_from, np.int64).tobytes()).hexdigest()[:12]


def load_version(version: str, config: Tracking) -> Recommender:
    """The recommender that the version serves; raises `UnreadableVersionError` if this code cannot read it."""
    return load_models(version, config).served


def load_models(version: str, config: Tracking) -> VersionModels:
    """The models of a version; raises `UnreadableVersionError` if this code cannot read them."""
    tags = tracking.connect(config).get_model_version(config.model, version).tags
    with TemporaryDirectory() as folder:
        return read_models(version, fetch_version(version, config, Path(folder)), tags)


def read_models(version: str, files: Path, tags: Mapping[str, str]) -> VersionModels:
    """The models in the files of a version with these tags, fetched by `fetch_version`; errors as in `load_models`."""
    artifacts = files / "artifacts"
    try:
        served = Recommender.load(artifacts / SERVED)
        judged = Recommender.load(artifacts / JUDGED) if (artifacts / JUDGED).is_dir() else None
        users = read_users(artifacts / USERS)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise UnreadableVersionError(
            f"version {version} cannot be read by this code ({type(error).__name__}: {str(error)[:200]})"
        ) from error
    return VersionModels(served, judged, _until(tags, SERVED), _until(tags, JUDGED), users)


def _until(tags: Mapping[str, str], model: str) -> int | None:
    until = int(tags.get(LEARNT_UNTIL[model], 0))
    if model == SERVED and LEARNT_UNTIL[model] not in tags:  # versions of retraining in earlier releases
        until = in_nanoseconds(int(tags.get("retraining.until", 0)))
    return until if until >= CLOCK else None
