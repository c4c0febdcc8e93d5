"""Kedro's configuration loader for `conf/`, with errors as sentences with file and line, and no unread entries."""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import click
import yaml
from kedro.config import MissingConfigException, OmegaConfigLoader
from omegaconf import OmegaConf
from omegaconf.errors import InterpolationResolutionError, OmegaConfBaseException
from yaml import YAMLError

from pinet_kedro.configuration import did_you_mean
from pinet_kedro.errors import InputError

# Environments for data that the command line names, and its parameters for them.
OWN_DATA = ("csv", "duckdb", "spark")
DATA_PARAMETERS = (
    "filepath", "user", "item", "timestamp", "rating", "timestamp_unit",
    "metadata", "metadata_item", "metadata_title", "metadata_categories", "metadata_separator",
)  # fmt: skip

_NO_METADATA = "pinet_kedro.datasets.items.ItemMetadataDataset"
_NEARLY = 0.85
_ENDINGS = (".yml", ".yaml", ".json")


class ConfigurationError(InputError, click.ClickException):
    """An `InputError` that Kedro's own commands (`kedro catalog`, `kedro viz`) also print as one sentence."""

    def __init__(self, message: str) -> None:
        click.ClickException.__init__(self, message)


class ConfigurationLoader(OmegaConfigLoader):
    """An `OmegaConfigLoader` that refuses unreadable files, and sections of an environment that nothing reads."""

    def __init__(self, conf_source: str | Path, env: str | None = None, *args: Any, **kwargs: Any) -> None:
        self._folder = Path(conf_source)
        self._environments = list(dict.fromkeys((kwargs["base_env"], env or kwargs["default_run_env"])))
        if self._folder.is_dir() or not self._folder.exists():  # otherwise an archive or an address
            _check_folders(self._folder, self._environments)
        # A run asks four times for the parameters, which OmegaConf reads in 0.15 s of CPU.
        self._known: tuple[Any, dict[str, Any]] | None = None  # runtime parameters, and the parameters with them
        with self._sentences():
            super().__init__(conf_source, env, *args, **kwargs)

    def __getitem__(self, key: str) -> dict[str, Any]:
        if key != "parameters" or key in self:
            return self._read(key)
        if self._known is None or self._known[0] != self.runtime_params:
            self._known = deepcopy(self.runtime_params), self._read(key)
        return deepcopy(self._known[1])

    def _read(self, key: str) -> dict[str, Any]:
        with self._sentences():
            try:
                found = super().__getitem__(key)
            except MissingConfigException as error:
                if key in ("parameters", "catalog"):
                    raise ConfigurationError(f"{_short(self._folder)}: {error}") from error
                raise
            if key == "parameters" and not isinstance(found, dict):
                raise ConfigurationError(f"the parameters in {self._folder} are not sections of names and values.")
            return self._with_metadata_of_the_log(found) if key == "catalog" else found

    def _with_metadata_of_the_log(self, catalog: dict[str, Any]) -> dict[str, Any]:
        """The catalog with item metadata of the same log only: equal ids of two logs are different items.

        An environment that names its own interactions does not inherit `item_metadata` of conf/base. Retraining has
        the same metadata only if it trains on the raw log.
        """
        none = {"type": _NO_METADATA}
        base, own = self.declared("catalog"), self.declared("catalog", 1)
        if "item_metadata" not in own and "raw_interactions" not in base.keys() - own.keys():
            catalog["item_metadata"] = none
        known = catalog.setdefault("item_metadata", none)
        on_raw_log = (self["parameters"].get("retraining") or {}).get("raw_log", True)
        catalog.setdefault("retraining.item_metadata", known if on_raw_log is True else none)
        return catalog

    def declared(self, kind: str, environment: int = 0) -> dict[str, Path]:
        """Top-level names in the files of a kind ('parameters', 'catalog') with their files.

        `environment`: 0 for conf/base, 1 for the environment of the run.
        """
        return self._declared(kind, self._environments[min(environment, len(self._environments) - 1)])

    def unread(self) -> list[str]:
        """Files with settings in the default environment, conf/local, which a run in another one does not read."""
        default = self.default_run_env
        if default in self._environments:
            return []
        found = {path for kind in ("parameters", "catalog") for path in self._declared(kind, default).values()}
        return sorted(map(_short, found))

    def _declared(self, kind: str, environment: str) -> dict[str, Path]:
        folder = self._folder / environment
        names: dict[str, Path] = {}
        with self._sentences():
            for path in _files(folder):
                inside = path.relative_to(folder).parts
                if any(part.startswith(kind) for part in inside):
                    names |= dict.fromkeys(_names(path), path)
        return names

    def check_environment(self) -> None:
        """Raises `ConfigurationError` for top-level names of an environment that nothing reads.

        These are sections of parameters that conf/base does not have, and datasets with a name similar to one in
        conf/base. Other datasets may belong to the user.
        """
        sections, datasets = sorted(self.declared("parameters")), sorted(self.declared("catalog"))
        for name, path in self.declared("parameters", 1).items():
            if name not in sections and not name.startswith("_"):
                raise ConfigurationError(
                    f"{_short(path)}: nothing reads the section '{name}'; {did_you_mean(name, sections)}there are "
                    f"{', '.join(sections)}."
                )
        for name, path in self.declared("catalog", 1).items():
            near = get_close_matches(name, datasets, 1, _NEARLY)
            if near and name not in datasets:
                raise ConfigurationError(
                    f"{_short(path)}: nothing reads the dataset '{name}'; did you mean '{near[0]}'?"
                )

    @contextmanager
    def _sentences(self) -> Iterator[None]:
        try:
            yield
        except (InputError, MissingConfigException):  # Kedro itself handles missing globals and credentials
            raise
        except InterpolationResolutionError as error:
            raise ConfigurationError(_unresolved(error)) from error
        except (YAMLError, OmegaConfBaseException, ValueError, TypeError, OSError) as error:
            raise ConfigurationError(self._why(error)) from error

    def _why(self, error: Exception) -> str:
        for name in self._environments:
            for path in _files(self._folder / name):
                if why := _unreadable(path):
                    return f"{_short(path)}{why}"
        if isinstance(error, OmegaConfBaseException):
            return f"{_short(self._folder)}: {error.full_key}: {str(error).splitlines()[0]}."
        return f"{_short(self._folder)}: {error}"


def _check_folders(conf: Path, environments: list[str]) -> None:
    if not conf.is_dir():
        raise ConfigurationError(
            f"There is no configuration here ({conf}). Go to the folder that contains conf/, or unpack the archive of "
            "conf/ that `kedro package` wrote beside the wheel."
        )
    known = sorted(path.name for path in conf.iterdir() if path.is_dir() and not path.name.startswith("."))
    for name in environments:
        if name not in known:
            raise ConfigurationError(
                f"there is no environment '{name}'; {did_you_mean(name, known)}in {_short(conf)} there are "
                f"{', '.join(known) or 'none'}."
            )


def _files(folder: Path) -> list[Path]:
    found = (path for path in folder.rglob("*") if path.suffix in _ENDINGS and path.is_file())
    return sorted(path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts))


def _names(path: Path) -> list[str]:
    """The top-level names in a file. libyaml reads conf/base in 0.01 s, OmegaConf in 0.1 s; a run calls this often."""
    content = yaml.load(path.read_bytes(), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    return list(map(str, content)) if isinstance(content, dict | list) else []


def _unreadable(path: Path) -> str | None:
    """The error in a file, with its line; None if the file can be read."""
    try:
        text = path.read_bytes().decode("utf-8")
        content = OmegaConf.load(io.StringIO(text))
    except UnicodeDecodeError as error:
        return f": byte {error.start + 1:,} is not UTF-8; store the file as UTF-8 text."
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        return f"{where}: {problem}. YAML needs spaces for indentation, closed brackets and quotes, and unique names."
    except (OmegaConfBaseException, ValueError, OSError) as error:
        return f": {str(error).splitlines()[0]}."
    if not OmegaConf.is_dict(content) and "expectations" not in path.parts:
        return ": it contains a list where names and values are expected (name: value)."
    return None


def _unresolved(error: InterpolationResolutionError) -> str:
    problem = str(error).splitlines()[0]
    if "Environment variable" in problem:
        name = problem.split("'")[1]
        return f"The environment variable {name} is not set; the configuration takes a value from it."
    return f"the configuration of {error.full_key or 'a value'} cannot be resolved: {problem}."


def _short(path: Path) -> str:
    """The path relative to the current folder if it is inside, otherwise the whole path."""
    inside = os.path.relpath(path)
    return str(path) if inside.startswith("..") else inside
