"""What a promotion decided and why; free of torch and mlflow."""

from typing import Any

from pydantic import Field

from pinet_kedro.configuration import Stored

PROMOTED, REFUSED, ROLLED_BACK, INTERRUPTED = "promoted", "refused", "rolled back", "interrupted"
# Of a version, with date and reason; unlike its decision it stays when the version is refused later.
ROLLED_BACK_TAG = "rolled_back"
# Of a version that was promoted: the champion before it. Its decision may be another one since.
PREDECESSOR_TAG = "predecessor"


class Gate(Stored):
    """One gate: what was measured, what was asked, and whether it holds.

    `value` is compared with `bound`; both are None where a gate is a matter of yes or no, and `value` alone is None
    where nothing could be measured, which never passes.
    """

    name: str
    passed: bool
    measured: str
    asked: str
    value: float | None = None
    bound: float | None = None


class Decision(Stored):
    """The outcome of one promotion, as `data/08_reporting/promotion.json` holds it."""

    promoted: bool
    model: str
    version: str
    against: str = Field(description="'version 3', or 'popularity' for the first version ever")
    champion_before: str | None
    gates: tuple[Gate, ...] = ()
    reasons: tuple[str, ...] = Field((), description="of a refusal; of a forced promotion, what gates had against it")
    forced: str | None = Field(None, description="the reason that was given for promoting whatever the gates say")
    notes: tuple[str, ...] = ()
    groups: dict[str, dict[str, Any]] = Field({}, description="as `evaluation.trial.Trial` has them")
    data: dict[str, Any] = Field({}, description="what it was judged on")
    date: str
    run_id: str | None = None

    @property
    def outcome(self) -> str:
        """'promoted' or 'refused'."""
        return PROMOTED if self.promoted else REFUSED

    def sentence(self) -> str:
        """The decision in one line."""
        if self.promoted:
            kept = f"; version {self.champion_before} is kept as 'previous'" if self.champion_before else ""
            forced = f", forced: {self.forced}" if self.forced else ""
            return f"Promoted: {self.model} version {self.version} is the champion{forced}{kept}."
        stays = f"version {self.champion_before} stays the champion" if self.champion_before else "there is no champion"
        return f"Refused: {self.model} version {self.version}; {stays}."

    def tags(self) -> dict[str, str]:
        """The decision as tags of the version."""
        told = {
            "decision": self.outcome,
            "decision.date": self.date,
            "decision.against": self.against,
            "decision.champion_before": self.champion_before or "none",
            "decision.reasons": "; ".join(self.reasons) or "none",
            "decision.forced": self.forced or "no",
            "decision.run_id": self.run_id or "none",
        }
        for gate in self.gates:
            state = "passed" if gate.passed else "failed"
            told[f"gate.{gate.name.replace(' ', '_')}"] = f"{state}: {gate.measured} (asked: {gate.asked})"
        return {key: value[:4000] for key, value in told.items()}
