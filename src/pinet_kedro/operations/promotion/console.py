"""Tables on the console: a decision with its gates, and the versions of the registry."""

from typing import Any

from rich.console import Console
from rich.table import Table

from pinet_kedro.operations.promotion.decision import Decision

_LOG_WIDTH = 140  # where no terminal says how wide it is, such as in the log of a scheduler


def show_decision(decision: Decision) -> None:
    """Prints every gate, the notes and the decision with its reasons."""
    console = _console()
    if decision.gates:
        table = Table(title=f"{decision.model} version {decision.version} against {decision.against}")
        for column in ("Gate", "Measured", "Asked", ""):
            table.add_column(column)
        for gate in decision.gates:
            state = "[green]passed[/green]" if gate.passed else "[bold red]FAILED[/bold red]"
            table.add_row(gate.name, gate.measured, gate.asked, state)
        console.print(table)
    for note in decision.notes:
        console.print(f"Note: {note}.", markup=False)
    console.print(decision.sentence(), style="bold", markup=False)
    for reason in decision.reasons:
        console.print(f"  - {reason}", markup=False)


def show_versions(model: str, versions: list[dict[str, Any]]) -> None:
    """Prints one row a version, newest first; figures are those of its own evaluation when it was registered."""
    table = Table(title=f"{model}: NDCG@10 when it was registered, and gain over the base trained with it")
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
        table.add_row(
            row["version"], f"{row['created']:%Y-%m-%d %H:%M}", *figures, ", ".join(row["aliases"]) or "–", decision,
            row.get("decision.against", "–"),
        )  # fmt: skip
    _console().print(table)


def _console() -> Console:
    console = Console()
    return console if console.is_terminal else Console(width=_LOG_WIDTH)


def _number(tag: str | None) -> str:
    return "–" if tag is None else f"{float(tag):.4f}"


def _percent(tag: str | None) -> str:
    from pinet_kedro.evaluation.figures import percent

    return "–" if tag in (None, "undefined") else percent(float(tag))
