"""Strata of users by activeness, the confounder of the paper (arXiv 2208.09130).

The activeness of a user is the number of events in the TRAINING part of the history. A stratum is an interval between
two thresholds, which are numbers of events. So users who are equally active are always in the same stratum, in any
order of the file, and the stored thresholds suffice to assign a later user.
"""

from typing import Literal

import numpy as np
from jaxtyping import Int
from pydantic import Field, model_validator

from pinet_kedro.configuration import Configuration, Count, Stored
from pinet_kedro.errors import InputError


class Stratification(Configuration):
    """How users are divided into strata for training; reports always use head, tail and quintiles."""

    rule: Literal["quantile", "pareto", "thresholds"] = "quantile"
    strata: int = Field(5, ge=2, le=50, description="quantile: number of strata of about the same number of users")
    head_share: float = Field(0.2, gt=0, lt=1, description="pareto, and all reports: share of users in the head")
    thresholds: tuple[Count, ...] = Field((), description="thresholds: least number of events of strata 2, 3, …")

    @model_validator(mode="after")
    def _rising(self) -> "Stratification":
        if self.rule == "thresholds" and (not self.thresholds or list(self.thresholds) != sorted(set(self.thresholds))):
            raise ValueError(f"thresholds must be given and increase, got {list(self.thresholds)}")
        return self


class Strata(Stored):
    """K strata: stratum a (0 = least active) has the users with `thresholds[a-1] <= events < thresholds[a]`."""

    thresholds: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.thresholds) + 1

    def assign(self, activeness: Int[np.ndarray, " U"]) -> Int[np.ndarray, " U"]:
        """Stratum (0..K-1) of users with these numbers of events, including users who are new since training."""
        return np.searchsorted(np.asarray(self.thresholds, np.int64), activeness, side="right")

    def labels(self) -> list[str]:
        """Readable interval of every stratum, such as '12–27 events'."""
        lows = [0, *self.thresholds]
        highs = [t - 1 for t in self.thresholds]
        bounded = [f"{low}–{high}" if low < high else f"{low}" for low, high in zip(lows, highs, strict=False)]
        return [f"{text} events" for text in bounded] + [f"{lows[-1]}+ events"]


class ReportingStrata(Stored):
    """The strata of a run: `training` for the aggregation, and those of all reports."""

    training: Strata
    head_tail: Strata
    quintiles: Strata

    def groups(self, activeness: Int[np.ndarray, " U"]) -> dict[str, np.ndarray]:
        """Masks over users: all, head, tail, q1 (least active) … q5."""
        head = self.head_tail.assign(activeness) == 1
        quintile = self.quintiles.assign(activeness)
        named = {f"q{q + 1}": quintile == q for q in range(len(self.quintiles))}
        return {"all": np.ones(len(activeness), bool), "head": head, "tail": ~head, **named}

    def absent(self, activeness: Int[np.ndarray, " U"]) -> list[str]:
        """Names of the groups without any of these users."""
        return [name for name, mask in self.groups(activeness).items() if not mask.any()]


def _cuts(activeness: Int[np.ndarray, " U"], shares: list[float]) -> tuple[int, ...]:
    """Increasing numbers of events; the share of users below each is as close as possible to the requested share.

    If there are fewer distinct numbers of events than requested cuts, there are fewer cuts.
    """
    values, counts = np.unique(activeness, return_counts=True)
    below = np.cumsum(counts)[:-1] / len(activeness)  # share of users strictly below values[1:]
    cuts: list[int] = []
    first = 0
    for done, share in enumerate(shares):
        # Leaves enough values for the remaining cuts, if possible.
        last = max(len(below) - (len(shares) - done - 1), first + 1)
        free = below[first:last]
        if len(free) == 0:
            break
        best = first + int(np.argmin(np.abs(free - share)))
        cuts.append(int(values[best + 1]))
        first = best + 1
    return tuple(cuts)


def fit_strata(activeness: Int[np.ndarray, " U"], config: Stratification) -> ReportingStrata:
    """Thresholds fitted on the users who have training events.

    Raises `InputError` if all users are equally active, or if a requested stratum would be empty.
    """
    activeness = activeness[activeness > 0]
    if len(np.unique(activeness)) < 2:
        raise InputError(
            f"all {len(activeness)} users have the same activeness ({activeness[0] if len(activeness) else 0} training "
            "events): there is no long tail to stratify. Lower cleaning.min_user_events or use a longer log."
        )
    head_tail = Strata(thresholds=_cuts(activeness, [1 - config.head_share]))
    quintiles = Strata(thresholds=_cuts(activeness, [0.2, 0.4, 0.6, 0.8]))
    if config.rule == "quantile":
        shares = [k / config.strata for k in range(1, config.strata)]
        training = Strata(thresholds=_cuts(activeness, shares))
    elif config.rule == "pareto":
        training = head_tail
    else:
        training = Strata(thresholds=config.thresholds)
        sizes = np.bincount(training.assign(activeness), minlength=len(training))
        if (sizes == 0).any():
            raise InputError(
                f"stratification.thresholds = {list(config.thresholds)} leaves stratum {int(sizes.argmin()) + 1} "
                f"without users (activeness is between {activeness.min()} and {activeness.max()} events)."
            )
    return ReportingStrata(training=training, head_tail=head_tail, quintiles=quintiles)
