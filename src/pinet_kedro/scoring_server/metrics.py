"""Counters of the server in Prometheus' text format, version 0.0.4.

Every worker counts in a file of its own, which it maps into memory; whichever worker is asked sums the files of all. A
worker that is killed loses no count, and its successor goes on in its file: sums do not fall while the server runs.
"""

import bisect
import json
import mmap
import os
from array import array
from collections import Counter
from pathlib import Path

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"

_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)  # seconds
_LE = (*map(str, _BOUNDS), "+Inf")
_STATUSES = ("200", "400", "405", "413", "415", "421", "500", "503", "504", "other")
_SECONDS = "pinet_request_seconds"
_COUNTERS = {
    "pinet_requests_total": ("status", "Requests to /invocations by status of the response."),
    "pinet_answers_total": ("version", "Answered users by version of the model."),
    "pinet_fallbacks_total": (
        "version",
        "Answers with popular and recent items, because no item of the history is known.",
    ),
    "pinet_unknown_items_total": ("version", "Items of histories that the model does not know."),
}
_Name = tuple[str, str]  # of a series, and the value of its label


class Metrics:
    """The counters of this worker, in `file`; a file with the same counters is continued."""

    def __init__(self, file: Path, versions: list[str]) -> None:
        self._folder = file.parent
        labels = {"status": _STATUSES, "version": tuple(dict.fromkeys(versions))}
        names = [(name, value) for name, (label, _) in _COUNTERS.items() for value in labels[label]]
        names += [(f"{_SECONDS}_bucket", le) for le in _LE] + [(f"{_SECONDS}_sum", "")]
        self._place = {name: place for place, name in enumerate(names)}
        head = json.dumps(names).encode()
        head += b" " * (-(len(head) + 1) % 8) + b"\n"  # the numbers begin at a multiple of their size
        size = len(head) + 8 * len(names)
        if not file.exists() or file.stat().st_size != size or not file.read_bytes().startswith(head):
            new = file.with_suffix(".new")
            new.write_bytes(head + bytes(8 * len(names)))
            os.replace(new, file)
        with file.open("r+b") as opened:
            self._values = memoryview(mmap.mmap(opened.fileno(), size))[len(head) :].cast("d")

    def request(self, status: int) -> None:
        """Counts a request to /invocations."""
        place = self._place.get(("pinet_requests_total", str(status)))
        self._values[self._place["pinet_requests_total", "other"] if place is None else place] += 1

    def took(self, seconds: float) -> None:
        """Counts the time of an answer."""
        self._values[self._place[f"{_SECONDS}_bucket", _LE[bisect.bisect_left(_BOUNDS, seconds)]]] += 1
        self._values[self._place[f"{_SECONDS}_sum", ""]] += seconds

    def answers(self, version: str, answers: list[dict[str, object]]) -> None:
        """Counts the answers of a version; those of an earlier release say nothing about unknown items."""
        unknown = sum(int(str(answer.get("unknown_items", 0))) for answer in answers)
        fallbacks = sum(bool(answer.get("fallback")) for answer in answers)
        self._values[self._place["pinet_answers_total", version]] += len(answers)
        self._values[self._place["pinet_fallbacks_total", version]] += fallbacks
        self._values[self._place["pinet_unknown_items_total", version]] += unknown

    def text(self) -> bytes:
        """The sums over all workers since the server started."""
        sums: Counter[_Name] = Counter()
        for file in self._folder.glob("*.counts"):
            head, _, numbers = file.read_bytes().partition(b"\n")
            for name, value in zip(json.loads(head), array("d", numbers), strict=True):
                sums[name[0], name[1]] += value  # type: ignore[assignment]
        lines = []
        for name, (label, what) in _COUNTERS.items():
            lines += [f"# HELP {name} {what}", f"# TYPE {name} counter"]
            found = sorted((value, number) for (series, value), number in sums.items() if series == name)
            lines += [f'{name}{{{label}="{_escaped(value)}"}} {number:.15g}' for value, number in found]
        lines += [f"# HELP {_SECONDS} Seconds from a complete request to its answer.", f"# TYPE {_SECONDS} histogram"]
        below = 0.0
        for le in _LE:
            below += sums[f"{_SECONDS}_bucket", le]
            lines.append(f'{_SECONDS}_bucket{{le="{le}"}} {below:.15g}')
        lines += [f"{_SECONDS}_sum {sums[f'{_SECONDS}_sum', '']:.15g}", f"{_SECONDS}_count {below:.15g}"]
        return "\n".join([*lines, ""]).encode()


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
