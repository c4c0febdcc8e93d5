"""The schedule that `kedro airflow create` writes into a DAG."""

import os
import re
from pathlib import Path

import click
from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl

from pinet_kedro.scheduling.config import RunSchedule

_UNKNOWN = "https://unknown.invalid"  # an address that the checks of the configuration accept


class AirflowHook:
    """Gives `kedro airflow create` the schedule that `kedro schedule` follows, so that there is only one."""

    @hook_impl(tryfirst=True)  # before others read the configuration
    def after_context_created(self, context: KedroContext) -> None:
        """Puts it where kedro-airflow looks for the values of its template, and only if kedro-airflow runs."""
        command = click.get_current_context(silent=True)
        if command is not None and "airflow" in command.command_path.split():
            loader = context.config_loader
            _stand_in_for_variables(Path(loader.conf_source))
            schedule = RunSchedule.model_validate(loader["parameters"].get("schedule", {}))
            loader["airflow"] = {"default": schedule.for_airflow()}


def _stand_in_for_variables(conf: Path) -> None:
    """Sets the environment variables that the configuration takes values from and that are not set.

    A DAG has no addresses: the machine where it is made need not know them.
    """
    for path in conf.rglob("*.y*ml"):
        for name in re.findall(r"\$\{oc\.env:(\w+)\}", path.read_text(encoding="utf-8", errors="ignore")):
            os.environ.setdefault(name, _UNKNOWN)
