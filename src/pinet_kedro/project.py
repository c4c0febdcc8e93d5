"""The folder of the project, and its parameters."""

from pathlib import Path
from typing import Any, TypeVar

from kedro.utils import find_kedro_project

from pinet_kedro.checking import checked
from pinet_kedro.configuration import Configuration

_Section = TypeVar("_Section", bound=Configuration)


def project_folder() -> Path:
    """The Kedro project that contains the current folder; the current folder outside of a project."""
    return find_kedro_project(Path.cwd()) or Path.cwd()


def short_path(path: Path) -> str:
    """A path for messages: relative to the project where it is inside."""
    folder = project_folder()
    return str(path.relative_to(folder) if path.is_relative_to(folder) else path)


def written_since(path: Path, moment: float) -> bool:
    """Whether it was written since this moment (seconds since 1970)."""
    # The clock of files may be some milliseconds behind.
    return path.exists() and path.stat().st_mtime > moment - 0.05


def parameters_of(name: str, model: type[_Section], env: str | None, **changes: Any) -> _Section:
    """The parameters `name` of an environment, with `changes`. Raises `InputError` if they are wrong."""
    from kedro.framework.session import KedroSession

    with KedroSession.create(project_folder(), env=env) as session:
        parameters = session.load_context().config_loader["parameters"]  # type: ignore[attr-defined]
    section = parameters.get(name, {})
    return checked(model, section | changes if changes else section, name)
