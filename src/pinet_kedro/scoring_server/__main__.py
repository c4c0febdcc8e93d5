"""Starts the scoring server of one version: `python -P …/scoring_server/__main__.py ARGUMENTS` (see `server.main`)."""

import sys
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
from pathlib import Path

if __name__ == "__main__":
    # This folder becomes a top-level package: importing it as a part of `pinet_kedro` would load the project's code.
    # The folder above stays off the path, because its modules have common names such as `errors`.
    folder = Path(__file__).parent
    spec = PathFinder.find_spec(folder.name, [str(folder.parent)])
    assert spec is not None
    sys.modules[folder.name] = module_from_spec(spec)

    from scoring_server.server import main

    main()
