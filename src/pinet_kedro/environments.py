"""A Kedro environment as text, complete: what another one has, with given sections of parameters in place."""

import re
from pathlib import Path
from typing import Any

import yaml
from kedro.config import OmegaConfigLoader
from kedro.framework.project import settings
from omegaconf import OmegaConf
from pydantic import BaseModel, ValidationError

from pinet_kedro.errors import InputError
from pinet_kedro.parameters import as_text, plain


def parameters_text(conf: Path, env: str, sections: dict[str, BaseModel], left_out: str) -> str:
    """Text of `parameters.yml`: these sections as they are, and all others that the files of `env` set, but one.

    Addresses from environment variables stay references. Raises `InputError` where Kedro, which merges the text into
    `conf/base`, would not get these sections.
    """
    own: dict[str, Any] = {}
    for text in _texts(conf, env, "parameters"):
        own |= yaml.safe_load(text) or {}
    own.pop(left_out, None)
    base = OmegaConfigLoader(str(conf), env="base", **settings.CONFIG_LOADER_ARGS)["parameters"]
    for name, section in sections.items():
        own[name] = plain(section)
        # By name, since a section may be a single value.
        merged: Any = OmegaConf.to_container(OmegaConf.merge({name: plain(base[name])}, {name: own[name]}))
        try:
            why = "" if type(section).model_validate(merged[name]) == section else "it is not what was chosen"
        except ValidationError as error:
            why = error.errors()[0]["msg"]
        if why:
            raise InputError(
                f"This cannot be written as an environment: conf/base sets something under {name} that belongs to "
                f"another choice ({why}). Keep only the names of backbone, loss and rule there."
            )
    return yaml.safe_dump(own, sort_keys=False, allow_unicode=True)


def catalog_text(conf: Path, env: str, parameters: dict[str, Any]) -> str:
    """Text of `catalog.yml`: that of `env`, with parameters of the command line replaced by values, or defaults."""

    def value(found: re.Match[str]) -> str:
        given = parameters.get(found[1], yaml.safe_load(found[2] or "null"))
        return as_text(given)

    reference = r"\$\{runtime_params:\s*(\w+)\s*(?:,\s*([^}]*?)\s*)?\}"
    return "\n".join(re.sub(reference, value, text) for text in _texts(conf, env, "catalog"))


def _texts(conf: Path, env: str, name: str) -> list[str]:
    """Of the files that Kedro reads as `name`: in folders, too, and JSON, which is YAML."""
    folder = conf / env
    parts = (
        {path: path.relative_to(folder).parts for path in folder.rglob("*") if path.is_file()} if env != "base" else {}
    )
    return [
        path.read_text(encoding="utf-8")
        for path, names in sorted(parts.items())
        if path.suffix in (".yml", ".yaml", ".json")
        and any(part.startswith(name) for part in names)
        and not any(part.startswith(".") for part in names)
    ]
