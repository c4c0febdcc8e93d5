"""Console tables of recommendations and of similar items."""

from rich.table import Table
from rich.text import Text

from pinet_kedro.explanation import ExplainedItem, Explanation
from pinet_kedro.inspection.titles import Titles
from pinet_kedro.printable import one_line
from pinet_kedro.processes.terminal import open_console
from pinet_kedro.reporting.text import share

_LOG_WIDTH = 160  # columns, where there is no terminal
_NEWEST = 5  # items of the history that are shown


def show_recommendations(
    explanation: Explanation, titles: Titles, title: str, history: list[str], explain: bool
) -> None:
    """Prints one row per item; with `explain`, also what its score is made of."""
    console = open_console(_LOG_WIDTH)
    newest = ", ".join(titles.shown(item) for item in reversed(history[-_NEWEST:]))
    console.print(_text(f"{title}: {len(history):,} events, the newest first: {newest or 'none'}"))
    scorers = list(explanation.average) if explain else []
    because = explain and any(found.because for found in explanation.items)
    table = _table(titles, ["Score", *scorers], ["Because of"] * because)
    for rank, found in enumerate(explanation.items, 1):
        numbers = [f"{value:.2f}" for value in (found.score, *(found.contributions[name] for name in scorers))]
        table.add_row(*_named(rank, found.item, titles), *numbers, *[_because(found, titles)] * because)
    if explain:
        average = [f"{value:.2f}" for value in (sum(explanation.average.values()), *explanation.average.values())]
        table.add_section()
        name = ["average item", ""] if titles else ["average"]
        table.add_row("", *name, *average, *[""] * because, style="dim")
    console.print(table)
    if explain:
        console.print(
            "The columns after the score add up to it. Only differences between items count: compare an item with "
            "the average of the catalogue."
        )
        if because:
            console.print("Because of: the item of the history with the largest share of the memory's score.")
    if explanation.note:
        console.print(_text(f"{explanation.note}."))


def show_similar(
    item: str,
    nearest: tuple[list[tuple[str, float]], list[tuple[str, float]] | None],
    titles: Titles,
    number: str,
) -> None:
    """Prints the items nearest to an item by vectors and by the memory, one table each."""
    console, (by_vectors, by_memory) = open_console(_LOG_WIDTH), nearest
    console.print(_text(f"Nearest to {titles.shown(item)}, version {number}"))
    for name, unit, found in (
        ("By the item vectors of the backbone", "Cosine", by_vectors),
        ("By the memory: items that often come soon after it, or before it", "Strength", by_memory),
    ):
        if found is None:
            console.print("This version has no memory: it has no plugins.")
        elif not found:
            console.print(f"{name}: none, the memory knows no transition from this item.")
        else:
            console.print(f"{name}:", style="bold")
            table = _table(titles, [unit], [])
            for rank, (other, value) in enumerate(found, 1):
                table.add_row(*_named(rank, other, titles), f"{value:.3f}")
            console.print(table)


def _table(titles: Titles, numbers: list[str], texts: list[str]) -> Table:
    table = Table()
    named = {"#": True, **({"Title": False} if titles else {}), "Id": False}
    columns = named | {name.capitalize(): True for name in numbers} | dict.fromkeys(texts, False)
    for name, right in columns.items():  # folded, because a part of a number or an id would be another one
        table.add_column(name, justify="right" if right else "left", overflow="fold")
    return table


def _named(rank: int, item: str, titles: Titles) -> list[str | Text]:
    title = [_text(titles.of(item) or "–")] if titles else []
    return [str(rank), *title, _text(item)]


def _because(found: ExplainedItem, titles: Titles) -> Text:
    if found.because is None:
        return Text("–")
    item, part = found.because
    return _text(f"{titles.shown(item)}, {share(part)}")


def _text(value: str) -> Text:
    """The value verbatim, on one line; rich would interpret `[red]` as a colour."""
    return Text(one_line(value))
