"""The tuned configuration as a Kedro environment, complete: data, protocol and training as the study had them."""

import re
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml
from kedro.config import OmegaConfigLoader
from kedro.framework.project import settings
from omegaconf import OmegaConf
from pydantic import ValidationError

from pinet_kedro.activeness import Stratification
from pinet_kedro.configuration import Configuration
from pinet_kedro.errors import InputError
from pinet_kedro.interactions.events import Cleaning
from pinet_kedro.interactions.split import Splitting
from pinet_kedro.parameters import plain
from pinet_kedro.plugins.config import PluginTraining
from pinet_kedro.provenance import git_state, versions
from pinet_kedro.studies.tuning.finalists import Choice
from pinet_kedro.studies.tuning.study import Record
from pinet_kedro.training.config import BackboneTraining

# The sections that data and models depend on. Everything else is taken from the environment's own files as it is.
_SECTIONS: dict[str, type[Configuration]] = {
    "cleaning": Cleaning, "splitting": Splitting, "stratification": Stratification,
    "backbone_training": BackboneTraining, "plugin_training": PluginTraining,
}  # fmt: skip
_MACHINE = ("seed", "threads", "device")


def write_environment(
    choice: Choice, record: Record, parameters: dict[str, Any], conf: Path, env: str
) -> tuple[str, str]:
    """Texts of `parameters.yml` and `catalog.yml` of the tuned environment.

    It has everything that environment `env` has, parameters of the command line included, with the chosen values in
    place. Credentials are left out. Raises `InputError` where it does not go together with `conf/base`.
    """
    own: dict[str, Any] = {}
    for path in sorted((conf / env).glob("parameters*.yml")) if env != "base" else ():
        own |= yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    own.pop("tuning", None)
    base = OmegaConfigLoader(str(conf), env="base", **settings.CONFIG_LOADER_ARGS)["parameters"]
    chosen = plain(parameters | {"backbone_training": choice.training, "plugin_training": choice.plugins})
    for name, model in _SECTIONS.items():
        section = plain(model.model_validate(chosen[name]))
        own[name] = {key: value for key, value in section.items() if key not in _MACHINE or name != "backbone_training"}
        merged = OmegaConf.to_container(OmegaConf.merge(plain(base[name]), own[name]))  # as Kedro will
        try:
            found = plain(model.model_validate(merged))
            why = "" if found | own[name] == found else "it is not what was chosen"
        except ValidationError as error:
            why = error.errors()[0]["msg"]
        if why:
            raise InputError(
                f"{choice.label} cannot be written as an environment: conf/base sets something under {name} that "
                f"belongs to another choice ({why}). Keep only the names of backbone, loss and rule there."
            )
    text = _header(choice, record, env) + yaml.safe_dump(own, sort_keys=False, allow_unicode=True)
    files = sorted((conf / env).glob("catalog*.yml")) if env != "base" else []
    head = f"# Data of environment {env}, as used for tuning. Written by `kedro run --pipeline=tuning`.\n"
    return text, head + "\n".join(_resolved(path.read_text(encoding="utf-8"), plain(parameters)) for path in files)


def _header(choice: Choice, record: Record, env: str) -> str:
    known = ", ".join(f"{name} {number}" for name, number in {**versions(), "optuna": version("optuna")}.items())
    lines = (
        "Written by `kedro run --pipeline=tuning`; the next one replaces it: keep a copy under another name.",
        "Use: kedro run --pipeline=full --env=tuned",
        f"study:    {record.study} ({record.storage})",
        f"chosen:   {choice.label}, {choice.why}",
        f"data:     environment {env}, sha256 {record.data} (log and split)",
        f"versions: {known}, git {git_state()}",
        f"date:     {datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
    )
    return "".join(f"# {line}\n" for line in lines)


def _resolved(text: str, parameters: dict[str, Any]) -> str:
    """The text with references to parameters of the command line replaced by their values, or their defaults."""

    def value(found: re.Match[str]) -> str:
        given = parameters.get(found[1], yaml.safe_load(found[2] or "null"))
        return "null" if given is None else yaml.safe_dump(given, default_flow_style=True).splitlines()[0]

    return re.sub(r"\$\{runtime_params:\s*(\w+)\s*(?:,\s*([^}]*?)\s*)?\}", value, text)
