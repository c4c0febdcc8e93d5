"""`pinet-kedro …` or `python -m pinet_kedro …`: inside a Kedro project the same as `kedro …`, elsewhere the package.

Outside a project, where the package is installed from a wheel, the current folder is the project: it contains `conf/`
and gets `data/`. Only the project's own commands exist there.
"""

import os
from pathlib import Path

from kedro.utils import find_kedro_project

PACKAGE = "pinet_kedro"


def main() -> None:
    """Runs the command line."""
    # Set before kedro-telemetry starts, because it reads a file `.telemetry` only inside a project.
    os.environ["KEDRO_DISABLE_TELEMETRY"] = "true"
    if find_kedro_project(Path.cwd()):
        from kedro.framework.cli.cli import main as kedro_main

        kedro_main()
        return
    from kedro.framework.project import LOGGING, configure_project  # noqa: F401  importing LOGGING applies conf/logging.yml

    configure_project(PACKAGE)
    from pinet_kedro.cli import cli

    cli(prog_name="pinet-kedro")


if __name__ == "__main__":
    main()
