"""Before a run: what can be seen to be wrong is refused before any work is done."""

import logging
import os
from typing import TYPE_CHECKING, Any

from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.io import CatalogProtocol
from kedro.pipeline import Pipeline

from pinet_kedro.configuration import did_you_mean
from pinet_kedro.errors import InputError
from pinet_kedro.runs.loader import DATA_PARAMETERS, OWN_DATA, ConfigurationLoader
from pinet_kedro.runs.paths import stored_path

if TYPE_CHECKING:
    from pinet_kedro.plugins.config import PluginTraining
    from pinet_kedro.training.config import BackboneTraining

log = logging.getLogger("pinet_kedro")


class ParameterChecks:
    """Refuses wrong parameters as soon as they are read, whether or not the run uses them."""

    @hook_impl(tryfirst=True)
    def after_context_created(self, context: KedroContext) -> None:
        """Refuses parameters that nothing reads, which are typing errors, and values that cannot be."""
        from pinet_kedro.runs.sections import typed_sections  # with pandas, half a second

        loader = context.config_loader
        assert isinstance(loader, ConfigurationLoader)
        declared = set(loader.declared("parameters"))
        known = declared | (set(DATA_PARAMETERS) if context.env in OWN_DATA else set())
        for name in loader.runtime_params or {}:
            if name not in known:
                data = "it belongs to --env=csv; " if name in DATA_PARAMETERS else ""
                raise InputError(
                    f"--params={name}=…: there is no such parameter; {did_you_mean(name, known)}{data}the parameters "
                    f"are {', '.join(sorted(known))} and what is below them in conf/base/parameters_*.yml."
                )
        loader.check_environment()
        if unread := loader.unread():
            log.warning(
                "%s: not read, since --env=%s is given: only runs without --env read conf/%s.",
                ", ".join(unread), context.env, loader.default_run_env,
            )  # fmt: skip
        typed_sections(loader["parameters"])


def check_run(run_params: dict[str, Any], pipeline: Pipeline, catalog: CatalogProtocol) -> None:
    """Refuses what cannot work before the work begins, not when the last node fails."""
    from pinet_kedro.validation.suites import check_gates

    _check_parameters(pipeline, catalog)
    for name in pipeline.all_outputs():
        path = stored_path(catalog, name)
        if path is None:
            continue
        folder = path.parent
        while not folder.exists():
            folder = folder.parent
        if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
            raise InputError(
                f"{path} cannot be written: {folder} is {'read-only' if folder.is_dir() else 'not a folder'}. "
                f"Make it writable, or point '{name}' elsewhere in conf/{run_params['env'] or 'local'}/catalog.yml."
            )
    check_gates(pipeline, catalog)


def _check_parameters(pipeline: Pipeline, catalog: CatalogProtocol) -> None:
    """Refuses parameters that are right one by one, but not together or not on this machine."""
    from pinet_kedro.training.memory import backbone_needs, check_memory, plugin_needs, state_space_need

    names = {name.removeprefix("params:") for name in pipeline.inputs() if name.startswith("params:")}
    for name in sorted(names):
        if f"params:{name}" not in catalog:
            raise InputError(f"conf/base/parameters_*.yml has no section '{name}', which the pipeline reads.")
    settings = {name: catalog.load(f"params:{name}") for name in names}
    if "backbone_training" in settings:
        training: BackboneTraining = settings["backbone_training"]
        processes = training.processes if names.isdisjoint(("benchmark", "tuning", "gradient_noise")) else 1
        if training.device != "cpu":
            from pinet_kedro.training.devices import find_device  # torch takes 1.5 s

            find_device(training.device if processes == 1 else f"{training.device}:{processes - 1}")
        else:
            check_memory(backbone_needs(training), processes)
    if "plugin_training" in settings:
        plugins: PluginTraining = settings["plugin_training"]
        width = settings["backbone_training"].backbone.width if "backbone_training" in settings else 1
        check_memory([*plugin_needs(plugins), *state_space_need(plugins, width)])
    if {"benchmark", "backbone_training", "plugin_training"} <= names:
        from pinet_kedro.studies.benchmark.bench import cells, check_names

        check_names(settings["benchmark"])
        for cell in cells(settings["benchmark"], training, plugins):
            check_memory(backbone_needs(cell.training), settings["benchmark"].workers)
    if {"tuning", "backbone_training", "plugin_training"} <= names:
        from pinet_kedro.studies.tuning.space import build_space

        build_space(settings["tuning"].space, training, plugins, settings["tuning"].joint)
        check_memory(backbone_needs(training), settings["tuning"].workers)
