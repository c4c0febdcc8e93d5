"""The feedback report as `data/08_reporting/feedback.json` stores it, and its sentences."""

from pydantic import Field

from pinet_kedro.configuration import Stored
from pinet_kedro.reporting.text import count, day, effect, percent, share

ONE_ARM = "one version answered at a time: this is observed, not compared at random"
RANDOMISED = "users were assigned at random"


class Rate(Stored):
    """Share of a group's answers that are hits, with its 95 % interval over users; None with too few users."""

    users: int
    answers: int
    hits: int
    rate: float | None = None
    low: float | None = None
    high: float | None = None

    def interval(self) -> tuple[float, float, float] | None:
        """`(rate, low, high)`."""
        if self.rate is None or self.low is None or self.high is None:
            return None
        return self.rate, self.low, self.high

    def text(self) -> str:
        """Such as '12.3 % [10.1, 14.6]'."""
        if (found := self.interval()) is None:
            return f"not measured ({count(self.users)} users)"
        value, low, high = found
        return f"{share(value, 1)} [{share(low, 1)[:-2]}, {share(high, 1)[:-2]}]"


class Gap(Stored):
    """Difference of two rates with its 95 % interval."""

    difference: float
    low: float
    high: float

    def effect(self) -> str:
        """'gain', 'loss' or 'none'."""
        return effect((self.difference, self.low, self.high))

    def text(self) -> str:
        """In percentage points, such as '+2.1 points [+0.3, +3.9]'."""
        value, low, high = (percent(number)[:-2] for number in (self.difference, self.low, self.high))
        return f"{value} points [{low}, {high}]"


class Cell(Stored):
    """Rates of one version in one arm by group of users: all, and tail and head as the version assigned them.

    `split` is the configuration of both arms, such as 'champion=3:0.9,challenger=4:0.1;salt=1'; empty where one
    version answered everybody. `first` and `last` are the times of the answers, nanoseconds since 1970.
    """

    split: str
    arm: str
    version: str
    first: int
    last: int
    groups: dict[str, Rate]

    @property
    def place(self) -> int:
        """Place of the arm in the configuration."""
        return [part.partition("=")[0] for part in self.split.split(",")].index(self.arm)

    @property
    def label(self) -> str:
        """Such as 'challenger (version 4)'."""
        return f"{self.arm} (version {self.version})" if self.arm != self.version else f"version {self.version}"


class Difference(Stored):
    """Rate of an arm minus that of another one in the same split, by group; None where it is not measured."""

    split: str
    arm: str
    against: str
    groups: dict[str, Gap | None]


class FeedbackReport(Stored):
    """The hit rates of logged answers. `missing` is the reason why there are none."""

    hours: float
    days: float
    missing: str | None = None
    logged: int = Field(0, description="answers in the log")
    users: int = Field(0, description="users of these answers")
    skipped: int = Field(0, description="incomplete lines at the end of files")
    until: int | None = Field(None, description="time of the newest interaction, nanoseconds since 1970")
    censored: int = Field(0, description="answers whose hours had not passed")
    old: int = Field(0, description="answers older than `days`")
    counted: int = Field(0, description="answers that count: one per user and time")
    cells: tuple[Cell, ...] = ()
    differences: tuple[Difference, ...] = ()

    def sentences(self) -> list[str]:
        """What was found, for the console and other pages: of the newest split that is measured, or the newest."""
        if self.missing is not None:
            return [f"Feedback: not measured: {self.missing}."]
        if self.differences:
            newest = max(self.differences, key=lambda found: (found.groups["all"] is not None, self._last(found.split)))
            compared = [f"{name} users {gap.text() if gap else 'not measured'}" for name, gap in newest.groups.items()]
            labels = {cell.arm: cell.label for cell in self.of(newest.split)}
            pair = f"{labels[newest.arm]} against {labels[newest.against]}"
            rates = [f"{cell.label} {cell.groups['all'].text()}" for cell in self.of(newest.split)]
            return [
                f"Feedback: {pair}: {', '.join(compared)} ({RANDOMISED}).",
                f"Recommended and then taken within {self.hours:g} h: {', '.join(rates)}.",
            ]
        newest_cell = max(self.cells, key=lambda cell: (cell.groups["all"].rate is not None, cell.last))
        rates = [f"{name} users {rate.text()}" for name, rate in newest_cell.groups.items()]
        return [
            f"Feedback: {newest_cell.label}: recommended and then taken within {self.hours:g} h: {', '.join(rates)} "
            f"({ONE_ARM})."
        ]

    def of(self, split: str) -> list[Cell]:
        """The cells of a split."""
        return [cell for cell in self.cells if cell.split == split]

    def counts(self) -> str:
        """One sentence on which answers count."""
        left = [
            f"{count(self.censored)} of the last {self.hours:g} h are left out, because what was taken is not known yet"
        ]
        left += [f"{count(self.old)} older than {self.days:g} days"] if self.old else []
        left += [f"{count(self.skipped)} incomplete lines were skipped"] if self.skipped else []
        return (
            f"{count(self.counted)} of {count(self.logged)} logged answers count, until {day(self.until)}: "
            f"{'; '.join(left)}."
        )

    def _last(self, split: str) -> int:
        return max(cell.last for cell in self.of(split))
