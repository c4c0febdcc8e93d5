"""Console tables: a decision with its gates, and the versions in the registry."""

from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from pinet_kedro.printable import printable
from pinet_kedro.processes.terminal import open_console
from pinet_kedro.promotion.decision import DECISION_TAG, GAIN_TAG, Decision
from pinet_kedro.reporting.text import NONE, count

_LEGEND = (
    "NDCG@10: on the version's own test targets; do not compare it across data. Gain: over the champion when they were "
    "compared, on the same targets, all users."
)
_LOG_WIDTH = 140  # columns, where there is no terminal, such as in the log of a scheduler


def show_decision(decision: Decision) -> None:
    """Prints all gates, the notes, and the decision with its reasons."""
    console = open_console(_LOG_WIDTH)
    if decision.gates:
        table = Table(title=_text(f"{decision.model} version {decision.version} against {decision.against}"))
        for column in ("Gate", "Measured", "Required", ""):
            table.add_column(column, overflow="fold")
        for gate in decision.gates:
            state = Text("passed", "green") if gate.passed else Text(gate.verdict.upper(), "bold red")
            table.add_row(_text(gate.name), _text(gate.measured), _text(gate.asked), state)
        console.print(table)
    for note in decision.notes:
        console.print(_text(f"Note: {note}."))
    console.print(_text(decision.sentence()), style="bold")
    for reason in decision.reasons:
        console.print(_text(f"  - {reason}"))


def show_versions(model: str, versions: list[dict[str, Any]]) -> None:
    """Prints one row per version, newest first; fits 80 columns.

    NDCG@10 is that of its own evaluation, and depends on its test targets: versions of different data cannot be
    compared by it. The gain over a champion is measured on the same targets.
    """
    table = Table(title=_text(model), box=box.SIMPLE_HEAD, padding=(0, 0, 1, 0), pad_edge=False, caption=_LEGEND)
    for column in ("No.", "Training", "Data", "NDCG@10", "Gain", "Aliases", "Decision"):
        table.add_column(column, overflow="fold", no_wrap=column in ("NDCG@10", "Gain"))
    for row in versions:
        users = f"{count(int(row['data.users']))} users" if "data.users" in row else ""
        ndcg = [f"{group:4} {_number(row.get(f'{group}.ndcg_at_10'))}" for group in ("all", "tail", "head")]
        cells = (
            row["version"],
            f"{row.get('backbone', NONE)}\nseed {row.get('seed', NONE)}\n{row['created']:%Y-%m-%d}",
            f"{row.get('data.sha256', NONE)[:8]}\n{users}",
            "\n".join(ndcg),
            row.get(GAIN_TAG, NONE).replace(" [", "\n[").replace(" over version", "\nover no."),
            ", ".join(row["aliases"]) or NONE,
            _decision(row),
        )
        table.add_row(*map(_text, cells))
    open_console(_LOG_WIDTH).print(table)


def _decision(row: dict[str, Any]) -> str:
    """The latest decision without the path of its page; in versions of earlier releases it has tags of its own."""
    decision = row.get(DECISION_TAG, NONE).partition("; ")[0]
    forced = " (forced)" if row.get("decision.forced", "no") != "no" and decision == "promoted" else ""
    against = f" against {row['decision.against']}" if "decision.against" in row else ""
    return f"{decision}{forced}{against}"


def _text(value: str) -> Text:
    """The value verbatim; rich would interpret `[red]` as a colour."""
    return Text(printable(value))


def _number(tag: str | None) -> str:
    return NONE if tag is None else f"{float(tag):.4f}"
