"""The tuned configuration as a Kedro environment, complete: data, protocol and training as the study had them."""

import re
import shutil
import tempfile
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml
from kedro.config import OmegaConfigLoader
from kedro.framework.project import settings
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

# What decides on data and models. Of all else the environment's own files are taken over as they stand.
_DECISIVE: dict[str, type[Configuration]] = {
    "cleaning": Cleaning, "splitting": Splitting, "stratification": Stratification,
    "backbone_training": BackboneTraining, "plugin_training": PluginTraining,
}  # fmt: skip
_LEFT_OUT = ("tuning",)
_MACHINE = ("seed", "threads", "device")


def write_environment(
    choice: Choice, record: Record, parameters: dict[str, Any], conf: Path, env: str
) -> tuple[str, str]:
    """Texts of `parameters.yml` and `catalog.yml` of the tuned environment.

    It holds what environment `env` has, with the chosen values in place of its own, as differences from `conf/base`;
    parameters of the command line that the study had are in it too. Credentials are not. Raises `InputError` where the
    result would not be what was chosen.
    """
    base = plain(_resolved(conf, "base"))
    wanted = plain(parameters) | {"backbone_training": choice.training, "plugin_training": choice.plugins}
    told = {name: value for name, value in _own(conf, env, "parameters").items() if name not in _LEFT_OUT}
    for name, model in _DECISIVE.items():
        told.pop(name, None)
        ours, theirs = (plain(model.model_validate(section[name])) for section in (wanted, base))
        if changed := _difference(ours, theirs, _MACHINE if name == "backbone_training" else ()):
            told[name] = changed
    body = yaml.safe_dump(told, sort_keys=False, allow_unicode=True) if told else ""
    text = f"{_header(choice, record, env)}{body}"
    _check(conf, text, choice)
    return text, _catalog(conf, env, plain(parameters))


def _header(choice: Choice, record: Record, env: str) -> str:
    known = {**versions(), "optuna": version("optuna")}
    described = ", ".join(f"{name} {number}" for name, number in known.items())
    date = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    lines = [
        "Made by `kedro run --pipeline=tuning`, and made anew by the next one: keep a copy under another name.",
        "Use: kedro run --pipeline=full --env=tuned",
        f"study:    {record.study} ({record.storage})",
        f"chosen:   {choice.label}, {choice.why}",
        f"data:     environment {env}, sha256 {record.data} (log and split)",
        f"versions: {described}, git {git_state()}",
        f"date:     {date}",
    ]
    return "".join(f"# {line}\n" for line in lines)


def _resolved(conf: Path, env: str) -> dict[str, Any]:
    return OmegaConfigLoader(str(conf), env=env, **settings.CONFIG_LOADER_ARGS)["parameters"]


def _own(conf: Path, env: str, kind: str) -> dict[str, Any]:
    """What the environment's files of a kind say themselves, references unresolved."""
    told: dict[str, Any] = {}
    if env != "base":
        for path in sorted((conf / env).glob(f"{kind}*.yml")):
            told |= yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    return told


def _difference(wanted: dict[str, Any], base: dict[str, Any], left_out: tuple[str, ...] = ()) -> dict[str, Any]:
    """What must be said over `base` so that the two together mean `wanted`; an alternative to another is said whole."""
    out: dict[str, Any] = {}
    for key, value in wanted.items():
        if key in left_out or (key in base and base[key] == value):
            continue
        other = base.get(key)
        if isinstance(value, dict) and isinstance(other, dict) and not _alternatives(value, other):
            out[key] = _difference(value, other)
        else:
            out[key] = value
    return out


def _alternatives(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return any(one.get(tag) != other.get(tag) for tag in ("name", "rule"))


def _check(conf: Path, text: str, choice: Choice) -> None:
    """Merges the text over `conf/base` as Kedro will, and compares."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(conf / "base", Path(folder, "base"))
        Path(folder, "tuned").mkdir()
        Path(folder, "tuned", "parameters.yml").write_text(text, encoding="utf-8")
        merged = _resolved(Path(folder), "tuned")
    for name, chosen in (("backbone_training", choice.training), ("plugin_training", choice.plugins)):
        model = _DECISIVE[name]
        try:
            same = _comparable(model.model_validate(merged[name])) == _comparable(model.model_validate(chosen))
            why = "it merges to something else"
        except ValidationError as error:
            same, why = False, error.errors()[0]["msg"]
        if not same:
            raise InputError(
                f"{choice.label} cannot be written as an environment, for conf/base sets something under {name} that "
                f"belongs to another choice: {why}. Leave there only the names of backbone, loss and rule."
            )


def _comparable(config: Any) -> dict[str, Any]:
    return {key: value for key, value in plain(config).items() if key not in _MACHINE}


def _catalog(conf: Path, env: str, parameters: dict[str, Any]) -> str:
    """The environment's own catalog, word for word but for what came from the command line."""
    files = sorted((conf / env).glob("catalog*.yml")) if env != "base" else []
    texts = [path.read_text(encoding="utf-8") for path in files]
    head = f"# Data of environment {env}, as it was tuned on. Made by `kedro run --pipeline=tuning`.\n"
    return head + "\n".join(_settled(text, parameters) for text in texts)


def _settled(text: str, parameters: dict[str, Any]) -> str:
    """References to parameters of the command line, replaced by what was given, or by their default."""

    def value(found: re.Match[str]) -> str:
        given = parameters.get(found[1], yaml.safe_load(found[2] or "null"))
        return "null" if given is None else yaml.safe_dump(given, default_flow_style=True).splitlines()[0]

    return re.sub(r"\$\{runtime_params:\s*(\w+)\s*(?:,\s*([^}]*?)\s*)?\}", value, text)
