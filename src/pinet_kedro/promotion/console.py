"""Console tables: a decision with its gates, and the versions in the registry."""

from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from pinet_kedro.printable import printable
from pinet_kedro.promotion.decision import Decision
from pinet_kedro.reporting.text import percent

_LOG_WIDTH = 140  # columns, where there is no terminal, such as in the log of a scheduler


def show_decision(decision: Decision) -> None:
    """Prints all gates, the notes, and the decision with its reasons."""
    console = _console()
    if decision.gates:
        table = Table(title=_text(f"{decision.model} version {decision.version} against {decision.against}"))
        for column in ("Gate", "Measured", "Required", ""):
            table.add_column(column)
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
    """Prints one row per version, newest first, with the metrics of its own evaluation at registration."""
    table = Table(title=_text(f"{model}: NDCG@10 at registration, and gain over the base trained with it"))
    for column in ("Version", "Created (UTC)", "Tail", "", "Head", "", "Aliases", "Decision", "Against"):
        table.add_column(column)
    for row in versions:
        figures = [
            text
            for group in ("tail", "head")
            for text in (_number(row.get(f"{group}.ndcg_at_10")), _percent(row.get(f"{group}.gain_over_base")))
        ]
        decision = row.get("decision", "–")
        if row.get("decision.forced", "no") != "no" and decision == "promoted":
            decision = "promoted (forced)"
        cells = (
            row["version"], f"{row['created']:%Y-%m-%d %H:%M}", *figures, ", ".join(row["aliases"]) or "–", decision,
            row.get("decision.against", "–"),
        )  # fmt: skip
        table.add_row(*map(_text, cells))
    _console().print(table)


def _console() -> Console:
    console = Console()
    return console if console.is_terminal else Console(width=_LOG_WIDTH)


def _text(value: str) -> Text:
    """The value verbatim; rich would interpret `[red]` as a colour."""
    return Text(printable(value))


def _number(tag: str | None) -> str:
    return "–" if tag is None else f"{float(tag):.4f}"


def _percent(tag: str | None) -> str:
    return "–" if tag in (None, "undefined") else percent(float(tag))
