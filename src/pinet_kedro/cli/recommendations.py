"""Commands that show what a model recommends: recommend, similar."""

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from pinet_kedro.cli.errors import echo
from pinet_kedro.cli.registry import env_option, registry_of
from pinet_kedro.errors import InputError
from pinet_kedro.interactions.ids import spell_ids
from pinet_kedro.registry.versions import find_version
from pinet_kedro.reporting.text import day, event_day

if TYPE_CHECKING:
    from pinet_kedro.inspection.prepared import PreparedData
    from pinet_kedro.inspection.titles import Titles
    from pinet_kedro.recommender import Recommender
    from pinet_kedro.registry.loading import VersionModels

_k_option = click.option("--k", type=click.IntRange(1), default=10, show_default=True, help="How many items.")
_version_option = click.option(
    "--version", default="champion", show_default=True, help="Alias or number of the registered version."
)


@click.command(short_help="Show the best items for a user or a history.")
@click.argument("user", required=False)
@click.option("--history", help="Ids of items instead of a USER, the oldest first: 50,181,172.")
@_k_option
@_version_option
@click.option("--explain", is_flag=True, help="Show what each score is made of, and because of which item.")
@click.option("--exclude", default="", show_default="none", help="Ids of items that are not shown: 50,181.")
@click.option("--only", show_default="all", help="Ids of items of which the best are shown.")
@click.option("--categories", show_default="all", help="Show items with one of these categories: Comedy,Drama.")
@click.option("--not-categories", default="", show_default="none", help="Show no items with one of these categories.")
@click.option(
    "--min-categories", type=click.IntRange(1), show_default="any number",
    help="Least number of categories among the items shown, if possible.",
)  # fmt: skip
@env_option
def recommend(
    user: str | None, history: str | None, k: int, version: str, explain: bool, env: str | None,
    exclude: str, only: str | None, categories: str | None, not_categories: str, min_categories: int | None,
) -> None:  # fmt: skip
    """Show the best items for USER, or for a --history of item ids.

    USER is looked up in the prepared data (data/04_feature/users.parquet); the whole history counts. Ids are those of
    the log, such as 50. Whether items of the history are recommended is the policy of the version. Filters change
    neither scores nor order of the items that are left.
    """
    if (user is None) == (history is None):
        raise click.UsageError("name a USER, or the items with --history=id,id,…")
    with _loaded(version, env) as (models, data, number):
        from pinet_kedro import explanation
        from pinet_kedro.asking import Constraints
        from pinet_kedro.inspection.tables import show_recommendations

        model, titles = models.served, data.titles()
        known = set(model.item_ids)
        items = _ids("history", history or "") if user is None else data.history(user)
        constraints = Constraints(
            exclude=_ids("exclude", exclude) if exclude else (),
            only=None if only is None else _ids("only", only),
            categories=None if categories is None else _listed("categories", categories),
            not_categories=_listed("not-categories", not_categories) if not_categories else (),
            min_categories=min_categories or 0,
        )
        for item in [*(items if user is None else ()), *constraints.exclude, *(constraints.only or ())]:
            _require_known(item, model, titles, number)
        found = explanation.explain(model, items, k, constraints=constraints)
        title = f"{'This history' if user is None else f'User {user}'} ({found.stratum}), version {number}"
        unknown = [item for item in items if item not in known]
        show_recommendations(found, titles, title, items, explain)
        if min_categories:
            reached = found.distinct_categories or 0
            fewer = " No item that may be shown would add one." if reached < min_categories else ""
            echo(f"Categories among these items: {reached}, asked for: {min_categories}.{fewer}")
        if unknown:
            echo(f"Skipped: {len(unknown):,} of {len(items):,} events, whose items version {number} does not know.")
        until = models.served_until
        if user is not None and until is not None and (newest := data.dataset.newest_event) < until:
            echo(
                f"Version {number} has learnt events until {day(until)}, and the histories in data/ end on "
                f"{event_day(newest)}: what the user has taken since is not known here, and may be shown."
            )


@click.command(short_help="Show the items nearest to an item.")
@click.argument("item")
@_k_option
@_version_option
@env_option
def similar(item: str, k: int, version: str, env: str | None) -> None:
    """Show the items nearest to ITEM, an id: by the vectors of the backbone, and by the memory of transitions."""
    with _loaded(version, env) as (models, data, number):
        from pinet_kedro.inspection.tables import show_similar
        from pinet_kedro.similarity import nearest_by_memory, nearest_by_vectors

        model, titles, wanted = models.served, data.titles(), spell_ids([item])[0]
        _require_known(wanted, model, titles, number)
        nearest = nearest_by_vectors(model, wanted, k), nearest_by_memory(model, wanted, k)
        show_similar(wanted, nearest, titles, number)


@contextmanager
def _loaded(version: str, env: str | None) -> Iterator[tuple["VersionModels", "PreparedData", str]]:
    """The models of a version, the prepared data, and the version's number; errors become sentences."""
    click.echo(f"Loading the version '{version}' …", err=True)  # at once: what follows imports torch and MLflow, 4 s
    with registry_of(env, "Nothing can be recommended.") as registry:
        from pinet_kedro.inspection.prepared import read_prepared
        from pinet_kedro.registry.loading import load_models

        number = find_version(version, registry)
        yield load_models(number, registry), read_prepared(env), number


def _ids(option: str, text: str) -> list[str]:
    """The ids in a list with commas."""
    return spell_ids(_listed(option, text))


def _listed(option: str, text: str) -> list[str]:
    """The entries of a list with commas; one that contains a comma is in quotation marks."""
    found = [entry.strip() for entry in next(csv.reader([text], skipinitialspace=True), [])]
    if not found or not all(found):
        what, example = ("a name", "Comedy,Drama") if "categories" in option else ("an id", "50,181")
        raise InputError(
            f"--{option}={text}: {what} is missing. Write {what.split()[1]}s with commas between them: "
            f"--{option}={example}."
        )
    return found


def _require_known(item: str, model: "Recommender", titles: "Titles", number: str) -> None:
    known = model.item_ids.tolist()
    if item not in known:
        raise InputError(
            f"version {number} knows no item {item!r}; {titles.nearest(item, known)}it knows the {len(known):,} items "
            "of its training data, by their ids."
        )
