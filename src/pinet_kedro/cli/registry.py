"""Commands on the versions in the registry: promote, rollback, models, trust, fetch, export."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from pinet_kedro.cli.errors import echo, sentences
from pinet_kedro.cli.run import run
from pinet_kedro.errors import InputError
from pinet_kedro.project import parameters_of
from pinet_kedro.promotion.console import show_versions
from pinet_kedro.promotion.rollback import roll_back
from pinet_kedro.registry.versions import fetch_version, find_version, list_versions, trust_version
from pinet_kedro.reporting.text import plural
from pinet_kedro.tracking.config import Tracking
from pinet_kedro.tracking.server import sentence

env_option = click.option("--env", "-e", show_default="local", help="Kedro environment, a folder of conf/.")


@contextmanager
def registry_of(env: str | None, consequence: str) -> Iterator[Tracking]:
    """The registry of an environment. Errors become sentences; `consequence` ends that of a server that is away."""
    with sentences():
        registry = parameters_of("tracking", Tracking, env)
        with sentence(registry.uri, consequence):
            yield registry


@click.command(short_help="Make a version the champion if it passes the gates.")
@click.argument("version", type=int, required=False)
@env_option
@click.option("--force", is_flag=True, help="Promote regardless of the gates.")
@click.option("--reason", help="Why it is forced; stored with the version.")
@click.pass_context
def promote(context: click.Context, version: int | None, env: str | None, force: bool, reason: str | None) -> None:
    """Make VERSION (default: the challenger) the champion if it passes the gates.

    The gates are in conf/base/parameters_promotion.yml.

    Exit code 0: promoted, or the champion already (nothing changes), 3: refused, 1: error.
    """
    if force != bool(reason):
        raise click.UsageError('--force and --reason "…" go together.')
    settings = {"version": version, "force": reason}
    with run.make_context("run", ["--pipeline=promotion"], parent=context) as running:
        running.params["env"] = env
        running.params["params"] = {"promotion": {key: value for key, value in settings.items() if value is not None}}
        run.invoke(running)


@click.command(short_help="Make the previous champion the champion again.")
@env_option
@click.option(
    "--reason", default="not given", show_default=True, help="Why; stored with the version that is rolled back."
)
def rollback(env: str | None, reason: str) -> None:
    """Make the version with the alias 'previous' the champion again."""
    again = "Repeat the command when the server answers; it also completes or undoes an interrupted move."
    with registry_of(env, again) as registry:
        bad, good = roll_back(registry, reason, env or "local")
        echo(f"Rolled back: {registry.model} version {good} is the champion again, in place of version {bad}.")


@click.command(short_help="List the registered versions.")
@env_option
def models(env: str | None) -> None:
    """List the registered versions with their data, metrics, gain over the champion, aliases and decisions."""
    with registry_of(env, "Nothing can be listed.") as registry:
        show_versions(registry.model, list_versions(registry))


@click.command(short_help="Store the digest of a version that has none.")
@click.argument("version", type=int)
@env_option
def trust(version: int, env: str | None) -> None:
    """Store the digest of the files of VERSION, for a version that has none.

    Versions of earlier releases have no digest, and none of their files is run without one. Check the files first.
    """
    with registry_of(env, "Nothing has changed.") as registry:
        stored = trust_version(find_version(str(version), registry), registry)
        if stored is None:
            echo(f"Version {version} already has a digest, and its files match it.")
        else:
            digest, files = stored
            echo(f"Trusted: {registry.model} version {version}, {plural(files, 'file')}, sha256 {digest}.")


@click.command(short_help="Copy the checked files of a version to a folder.")
@click.argument("version")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@env_option
def fetch(version: str, folder: Path, env: str | None) -> None:
    """Copy the checked files of VERSION, an alias or a number, to the new FOLDER, for mlflow.pyfunc.load_model."""
    with registry_of(env, "Nothing has been fetched.") as registry:
        if folder.exists():
            raise InputError(f"{folder} is there already: name a folder that does not exist.")
        found = find_version(version, registry)
        folder.parent.mkdir(parents=True, exist_ok=True)
        # Beside the folder, so that it is there whole or not at all: to another disk, files would move one by one.
        with TemporaryDirectory(prefix=".fetched-", dir=folder.parent) as temporary:
            fetch_version(found, registry, Path(temporary)).rename(folder)
        echo(f"Fetched: {registry.model} version {found}, as it was registered, to {folder}.")


@click.command(short_help="Write the backbone of a version as ONNX.")
@click.argument("version")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@env_option
def export(version: str, folder: Path, env: str | None) -> None:
    """Write the backbone of VERSION, an alias or a number, as ONNX to the new FOLDER, and compare it with torch.

    It has the scores of the backbone alone, without the plugins, the memory and the factors.
    """
    click.echo(f"Loading the version '{version}' …", err=True)  # at once: what follows imports torch and MLflow
    with registry_of(env, "Nothing has been exported.") as registry:
        if folder.exists():
            raise InputError(f"{folder} is there already: name a folder that does not exist.")
        from pinet_kedro.registry.loading import load_version
        from pinet_kedro.serving.onnx_export import export_backbone

        found = find_version(version, registry)
        folder.parent.mkdir(parents=True, exist_ok=True)
        difference = export_backbone(load_version(found, registry), folder)
        echo(
            f"Exported: the backbone of {registry.model} version {found} to {folder / 'backbone.onnx'}, with "
            f"items.json; its scores differ from those of torch by at most {difference:.0e} of the largest."
        )
