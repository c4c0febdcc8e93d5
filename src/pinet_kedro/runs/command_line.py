"""The command line of a run, for messages that say what to run."""

import shlex
from collections.abc import Iterable, Mapping
from typing import Any

from pinet_kedro.parameters import as_text, flat, plain


def run_command(
    pipelines: Iterable[str] | None, env: str | None, parameters: Mapping[str, Any] | None, **options: Any
) -> str:
    """`kedro run` with these pipelines, environment, runtime parameters and other options; without empty ones."""
    given = {
        "pipelines": pipelines,
        "env": env,
        **{name.replace("_", "-"): value for name, value in options.items()},
        "params": [f"{key}={as_text(value)}" for key, value in flat(plain(dict(parameters or {}))).items()],
    }
    listed = {name: value if isinstance(value, str) else ",".join(value) for name, value in given.items() if value}
    if "pipelines" in listed and "," not in listed["pipelines"]:
        listed = {"pipeline": listed.pop("pipelines"), **listed}
    return shlex.join(["kedro", "run", *(f"--{name}={value}" for name, value in listed.items())])
