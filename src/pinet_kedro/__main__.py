"""`pinet-kedro …`, also `python -m pinet_kedro …`: `kedro …` inside the project, the installed package outside of it.

Outside of a Kedro project, where a wheel is installed, the current folder takes the project's place: it holds `conf/`,
and gets `data/`. The commands are then the project's own.
"""

import os
from pathlib import Path

from kedro.utils import find_kedro_project

PACKAGE = "pinet_kedro"


def main() -> None:
    """Runs the command line."""
    # Before kedro-telemetry looks: a file `.telemetry` counts inside a project only.
    os.environ["KEDRO_DISABLE_TELEMETRY"] = "true"
    if find_kedro_project(Path.cwd()):
        from kedro.framework.cli.cli import main as kedro_main

        kedro_main()
        return
    from kedro.framework.project import LOGGING, configure_project  # noqa: F401  the import sets conf/logging.yml up

    configure_project(PACKAGE)
    from pinet_kedro.cli import cli

    cli(prog_name="pinet-kedro")


if __name__ == "__main__":
    main()
