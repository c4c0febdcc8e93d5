"""The decision on a version, with its reasons; free of torch and mlflow."""

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from pinet_kedro.configuration import Stored
from pinet_kedro.reporting.text import gain_of, with_interval

PROMOTED, REFUSED, ROLLED_BACK, INTERRUPTED = "promoted", "refused", "rolled back", "interrupted"
# Tag of a version: its latest decision, when, against what, and its page among the artifacts of the version's run.
DECISION_TAG = "decision"
# Tag of a version: its gain over a champion on the same targets, all users, when they were last compared.
GAIN_TAG = "gain_over_champion"
# Tag of a version: date and reason of its rollback. Later decisions do not overwrite it.
ROLLED_BACK_TAG = "rolled_back"
# Tag of a promoted version: the champion before it. It stays after later decisions on the version.
PREDECESSOR_TAG = "predecessor"


class Gate(Stored):
    """One gate: what was measured, what was required, and whether it passed.

    `value` is compared with `bound`. Both are None for a yes-or-no gate; `value` alone is None if nothing could be
    measured. A gate that could not be measured has not passed.
    """

    name: str
    passed: bool
    unmeasured: bool = False
    measured: str
    asked: str
    value: float | None = None
    bound: float | None = None

    @property
    def verdict(self) -> str:
        """'passed', 'failed' or 'not measured'."""
        return "not measured" if self.unmeasured else "passed" if self.passed else "failed"

    @property
    def reason(self) -> str:
        """Why a version that misses it is refused."""
        measured = f"{self.verdict}: {self.measured}" if self.unmeasured else self.measured
        return f"{self.name}: {measured} (required: {self.asked})"


def not_measured(name: str, why: str, asked: str, bound: float | None = None) -> Gate:
    """A gate for which there is no evidence, and why."""
    return Gate(name=name, passed=False, unmeasured=True, measured=why, asked=asked, bound=bound)


class Decision(Stored):
    """One decision, as stored in `data/08_reporting/promotion.json` and in `decisions/` of the version's run."""

    promoted: bool
    model: str
    version: str
    against: str = Field(description="'version 3', or 'popularity' for the first version ever")
    champion_before: str | None
    gates: tuple[Gate, ...] = ()
    reasons: tuple[str, ...] = Field((), description="of a refusal or rollback; the failed gates of a forced promotion")
    forced: str | None = Field(None, description="the reason given for promoting regardless of the gates")
    restored: str | None = Field(None, description="of a rollback: the version that is the champion again")
    notes: tuple[str, ...] = ()
    groups: dict[str, dict[str, Any]] = Field({}, description="as in `evaluation.challenge`")
    data: dict[str, Any] = Field({}, description="the data of the comparison")
    date: str
    run_id: str | None = None

    @property
    def outcome(self) -> str:
        """'promoted', 'refused' or 'rolled back'."""
        return ROLLED_BACK if self.restored else PROMOTED if self.promoted else REFUSED

    @property
    def place(self) -> str:
        """Path of its files among the artifacts of a run, without suffix: 'decisions/2026-11-30T03-04-05_promoted'."""
        return f"{place_of(self.date)}_{self.outcome.replace(' ', '_')}"

    def sentence(self) -> str:
        """The decision in one sentence."""
        if self.restored:
            return (
                f"Rolled back: {self.model} version {self.restored} is the champion again, in place of version "
                f"{self.version}."
            )
        if self.promoted:
            kept = f"; version {self.champion_before} is kept as 'previous'" if self.champion_before else ""
            forced = f", forced: {self.forced}" if self.forced else ""
            return f"Promoted: {self.model} version {self.version} is the champion{forced}{kept}."
        stays = f"version {self.champion_before} stays the champion" if self.champion_before else "there is no champion"
        return f"Refused: {self.model} version {self.version}; {stays}."

    def summary(self) -> str:
        """Outcome, day and opponent, such as 'promoted (forced) 2026-11-30 against version 2'."""
        forced = " (forced)" if self.forced and self.promoted else ""
        return (
            f"{self.outcome}{forced} {self.date[:10]} {'in favour of' if self.restored else 'against'} {self.against}"
        )

    def tags(self) -> dict[str, str]:
        """The decision as tags of the version."""
        tags = {DECISION_TAG: f"{self.summary()}; {self.place}.html"}
        if self.groups and self.champion_before:
            tags[GAIN_TAG] = f"{with_interval(gain_of(self.groups['all']['gain']))} over {self.against}"
        return tags


def place_of(date: str) -> str:
    """How the paths of all files of decisions at this time (ISO) begin."""
    return f"decisions/{date[:19].replace(':', '-')}"


def outcome_of(tags: Mapping[str, str]) -> str | None:
    """The outcome of a version's latest decision, from its tags; None if there was none.

    Earlier releases stored the outcome alone, and gates and reasons in tags of their own.
    """
    found = tags.get(DECISION_TAG)
    return next((o for o in (PROMOTED, REFUSED, ROLLED_BACK, INTERRUPTED) if found and found.startswith(o)), found)
