"""The decision of a promotion, with its reasons; free of torch and mlflow."""

from typing import Any

from pydantic import Field

from pinet_kedro.configuration import Stored

PROMOTED, REFUSED, ROLLED_BACK, INTERRUPTED = "promoted", "refused", "rolled back", "interrupted"
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


def not_measured(name: str, why: str, asked: str, bound: float | None = None) -> Gate:
    """A gate for which there is no evidence, and why."""
    return Gate(name=name, passed=False, unmeasured=True, measured=why, asked=asked, bound=bound)


class Decision(Stored):
    """The outcome of one promotion, as stored in `data/08_reporting/promotion.json`."""

    promoted: bool
    model: str
    version: str
    against: str = Field(description="'version 3', or 'popularity' for the first version ever")
    champion_before: str | None
    gates: tuple[Gate, ...] = ()
    reasons: tuple[str, ...] = Field((), description="of a refusal; or the failed gates of a forced promotion")
    forced: str | None = Field(None, description="the reason given for promoting regardless of the gates")
    notes: tuple[str, ...] = ()
    groups: dict[str, dict[str, Any]] = Field({}, description="as in `evaluation.challenge`")
    data: dict[str, Any] = Field({}, description="the data of the comparison")
    date: str
    run_id: str | None = None

    @property
    def outcome(self) -> str:
        """'promoted' or 'refused'."""
        return PROMOTED if self.promoted else REFUSED

    def sentence(self) -> str:
        """The decision in one sentence."""
        if self.promoted:
            kept = f"; version {self.champion_before} is kept as 'previous'" if self.champion_before else ""
            forced = f", forced: {self.forced}" if self.forced else ""
            return f"Promoted: {self.model} version {self.version} is the champion{forced}{kept}."
        stays = f"version {self.champion_before} stays the champion" if self.champion_before else "there is no champion"
        return f"Refused: {self.model} version {self.version}; {stays}."

    def tags(self) -> dict[str, str]:
        """The decision as tags of the version."""
        tags = {
            "decision": self.outcome,
            "decision.date": self.date,
            "decision.against": self.against,
            "decision.champion_before": self.champion_before or "none",
            "decision.reasons": "; ".join(self.reasons) or "none",
            "decision.forced": self.forced or "no",
            "decision.run_id": self.run_id or "none",
        }
        for gate in self.gates:
            tags[f"gate.{gate.name.replace(' ', '_')}"] = f"{gate.verdict}: {gate.measured} (required: {gate.asked})"
        return {key: value[:4000] for key, value in tags.items()}
