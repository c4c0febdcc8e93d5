"""The benchmark suite: every figure with its median and spread, the machine, the threads and the versions.

    python tests/benchmarks/suite.py                   all of it
    python tests/benchmarks/suite.py step catalogue    these
    python tests/benchmarks/suite.py --list            what there is

A benchmark is a module beside this one with a docstring and `figures() -> Iterator[Figure]`. What it finds is stored as
data/08_reporting/benchmarks/<name>.json when it has ended; data/08_reporting/benchmarks.md shows the newest of each.
"""

import argparse
import datetime
import importlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from measuring import machine

from pinet_kedro.datasets.whole_file import whole_file
from pinet_kedro.provenance import git_state, versions

NAMES = ("step", "catalogue", "preparation", "memory", "whole_run", "rivals", "device", "processes")
FOLDER = Path("data/08_reporting/benchmarks")
TABLE = FOLDER.with_suffix(".md")


def measure(name: str) -> dict[str, Any]:
    """The record of one benchmark; its figures are shown as they are found."""
    module = importlib.import_module(name)
    say(f"== {name}: {module.__doc__.splitlines()[0]}")
    load, started = os.getloadavg()[0], time.time()
    rows = []
    for figure in module.figures():
        rows.append(figure.row())
        say("   " + "  ".join(cells(rows[-1])))
    return {
        "benchmark": name,
        "what": module.__doc__.strip(),
        "ended": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "seconds": round(time.time() - started, 1),
        "load_before": round(load, 2),
        "git": git_state(),
        "machine": machine(),
        "versions": versions(),
        "figures": rows,
    }


def cells(row: dict[str, Any]) -> list[str]:
    """A figure as the columns of the table: what, at what, median, spread, repetitions."""
    at = ", ".join(
        f"{key} {value:,}" if isinstance(value, int) else f"{key} {value}" for key, value in row["at"].items()
    )
    spread = f"{number(row['low'])} – {number(row['high'])}" if len(row["values"]) > 1 else ""
    return [row["name"], at, f"{number(row['median'])} {row['unit']}".strip(), spread, str(len(row["values"]))]


def number(value: float) -> str:
    """Three significant digits, no exponent."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def table() -> str:
    """Markdown of all stored records."""
    lines = ["# Benchmarks", ""]
    for name in NAMES:
        path = FOLDER / f"{name}.json"
        if not path.exists():
            continue
        record = json.loads(path.read_text(encoding="utf-8"))
        computer, used = record["machine"], record["versions"]
        lines += [
            f"## {name}",
            "",
            record["what"],
            "",
            f"{record['ended']}, {record['seconds']:,} s, commit {record['git'][:8]}{'+' * ('+' in record['git'])}; "
            f"{computer['cpu']}, {computer['cores']} cores, {computer['memory_gib']} GiB, load before "
            f"{record['load_before']}; Python {used['python']}, torch {used['torch']}, numpy {used['numpy']}.",
            "",
            "| figure | at | median | smallest – largest | repetitions |",
            "|---|---|---|---|---|",
            *(f"| {' | '.join(cells(row))} |" for row in record["figures"]),
            "",
        ]
    return "\n".join(lines)


def store(path: Path, text: str) -> None:
    with whole_file(path) as part:
        part.write_text(text, encoding="utf-8")


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> None:
    """Measures what is asked for and stores it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}; none: all")
    parser.add_argument("--list", action="store_true", help="say what there is, and end")
    args = parser.parse_args()
    unknown = sorted(set(args.names) - set(NAMES))
    if unknown:
        parser.error(f"there is no benchmark {', '.join(unknown)}; there are {', '.join(NAMES)}")
    if args.list:
        for name in NAMES:
            say(f"{name:12}{importlib.import_module(name).__doc__.splitlines()[0]}")
        return
    written = []
    for name in args.names or NAMES:
        record = measure(name)
        if not record["figures"]:
            say("   cannot be measured on this machine")
            continue
        store(FOLDER / f"{name}.json", json.dumps(record, indent=1))
        store(TABLE, table())
        written.append(name)
    say(f"written: {TABLE} and {FOLDER}/*.json of {', '.join(written)}" if written else "nothing written")


if __name__ == "__main__":
    main()
