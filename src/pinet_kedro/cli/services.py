"""Commands that run for long: replay, schedule, serve."""

import sys
from typing import Any

import click

from pinet_kedro.cli.errors import echo, sentences
from pinet_kedro.cli.registry import env_option, registry_of
from pinet_kedro.project import parameters_of
from pinet_kedro.scheduling import schedule as scheduling
from pinet_kedro.serving import supervisor
from pinet_kedro.serving.config import Serving


@click.command(short_help="Replay the log through retraining, in a sandbox.")
@env_option
@click.option(
    "--every",
    type=click.Choice(["day", "week", "month", "quarter", "year"]),
    default="month",
    show_default=True,
    help="Length of a period.",
)
@click.option("--limit", type=click.IntRange(1), show_default="all", help="Most periods to replay.")
@click.option("--params", show_default="none", help="Parameters of every run, as for `kedro run`.")
def replay(env: str | None, every: str, limit: int | None, params: str | None) -> None:
    """Replay the environment's log through retraining, period by period, in a sandbox (data/replay)."""
    from pinet_kedro.runs.start_page import list_pages
    from pinet_kedro.studies.replay import replay as replaying  # imports pandas, 1 s

    with sentences():
        rows = replaying.replay(replaying.Replay(env, every, limit, params))
        list_pages(env)
        echo(replaying.summary(rows))


@click.command(short_help="Run a pipeline at its times, until SIGTERM.")
@env_option
@click.option("--once", is_flag=True, help="Run once, now, and end with the run's exit code.")
@click.option("--dry-run", is_flag=True, help="Show the command and its next times, and end.")
def schedule(env: str | None, once: bool, dry_run: bool) -> None:
    """Run the pipeline of conf/base/parameters_schedule.yml at its times, until SIGTERM or Ctrl-C."""
    with sentences():
        config = scheduling.load_schedule(env)
    runs = scheduling.Runs(config, [sys.executable, "-m", "pinet_kedro", *scheduling.run_arguments(config, env)])
    if dry_run:
        scheduling.show(config, env)
    elif once:
        click.get_current_context().exit(scheduling.run_once(runs))
    else:
        scheduling.run_forever(runs)


@click.command(short_help="Serve recommendations over HTTP, until SIGTERM.")
@env_option
@click.option("--host", show_default="serving.host", help="Address to listen on.")
@click.option("--port", type=int, show_default="serving.port", help="Port to listen on; 0 takes any free port.")
@click.option(
    "--version", show_default="serving.version", help="Alias or number of the version; serving.split is ignored."
)
@click.option("--workers", type=int, show_default="serving.workers", help="Number of worker processes.")
def serve(env: str | None, **given: Any) -> None:
    """Serve recommendations of the champion over HTTP, until SIGTERM or Ctrl-C.

    Limits and defaults are in conf/base/parameters_serving.yml. When the alias moves, the server follows it. With
    serving.split, two versions are served side by side.
    """
    chosen = {name: value for name, value in given.items() if value is not None}
    if "version" in chosen:
        chosen["split"] = None
    consequence = "Nothing is served: the version is fetched from there at the start, and only then."
    with sentences():
        config = parameters_of("serving", Serving, env, **chosen)
    with registry_of(env, consequence) as registry:
        supervisor.serve(config, registry)
