"""The schedule that `kedro airflow create` writes into a DAG."""

import click
from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl

from pinet_kedro.scheduling.config import RunSchedule


class AirflowHook:
    """Gives `kedro airflow create` the schedule that `kedro schedule` follows, so that there is only one."""

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Puts it where kedro-airflow looks for the values of its template, and only if kedro-airflow runs."""
        command = click.get_current_context(silent=True)
        if command is not None and "airflow" in command.command_path.split():
            loader = context.config_loader
            schedule = RunSchedule.model_validate(loader["parameters"].get("schedule", {}))
            loader["airflow"] = {"default": schedule.for_airflow()}
