"""The project's own commands: `kedro run` with errors as sentences, and the commands for the life of a model.

Exit codes of a promotion: 0 promoted, 3 refused, 1 error, 2 wrong usage.
"""

import click

from pinet_kedro import __version__
from pinet_kedro.cli import recommendations, registry, services
from pinet_kedro.cli.run import run


@click.group(name="pinet_kedro", context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "--version", "-V", prog_name="pinet-kedro")
def cli() -> None:
    """Commands of this project."""


for command in (
    run, registry.promote, registry.rollback, registry.models, registry.trust, registry.fetch, registry.export,
    services.replay, services.schedule, services.serve, recommendations.recommend, recommendations.similar,
):  # fmt: skip
    cli.add_command(command)
