"""Lineage of a run: every stored dataset gets the recipe of its manifest, and inputs that do not fit stop the run.

A stored input fits when it exists, its content matches its manifest, no two inputs were made from different versions of
a third dataset, and it was made with the parameters and from the raw source of this run. Inputs made by other code only
cause a warning: most changes of code change no result, and a model must survive an upgrade.
"""

import logging
from collections.abc import Iterable, Set
from pathlib import Path
from typing import Any

from kedro.framework.hooks import hook_impl
from kedro.framework.project import pipelines
from kedro.io import CatalogProtocol, DatasetError
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node
from kedro.utils import load_obj

from pinet_kedro.datasets.manifests import (
    Entry,
    Manifest,
    MixedError,
    Recipe,
    Signed,
    Source,
    content_hash,
    merged,
)
from pinet_kedro.errors import InputError
from pinet_kedro.parameters import flat, plain, without_credentials
from pinet_kedro.pipelines.tags import AS_STORED
from pinet_kedro.project import short_path
from pinet_kedro.provenance import code_state
from pinet_kedro.runs.command_line import run_command
from pinet_kedro.sources.fetched import UnreachableError
from pinet_kedro.sources.raw_files import RawFiles
from pinet_kedro.training.config import OF_THE_MACHINE

log = logging.getLogger("pinet_kedro")

# Not recorded: where results are recorded (it may hold secrets) and the gates of a promotion change nothing that is
# stored, and a node that takes all parameters only shows them.
_UNRECORDED = {"tracking", "promotion", "parameters"}
# Recorded, but a later value may differ: how retraining treated its partitions, …
_UNCHECKED = {"retraining"}
_MACHINE = {*OF_THE_MACHINE, "workers", "storage"}  # … and parameters of the machine
_SHOWN = 3
_OR_ALL = " (or everything: --pipeline=full)"


class ManifestHook:
    """Refuses a run on inputs that are missing, stale, foreign or damaged; stores outputs with their manifests."""

    @hook_impl(tryfirst=True)  # before a run is tracked
    def before_pipeline_run(self, run_params: dict[str, Any], pipeline: Pipeline, catalog: CatalogProtocol) -> None:
        """Checks what the run reads but does not make."""
        run = _Run(run_params, catalog)
        recipes = run.recipes(pipeline)
        read = set(filter(_is_data, pipeline.inputs()))
        if run_params.get("only_missing_outputs"):  # existing outputs are used, too
            read |= {name for name in recipes if catalog.exists(name)}
        run.check(sorted(read))
        for name, recipe in recipes.items():
            catalog.get(name).recipe = recipe  # type: ignore[union-attr]

    @hook_impl
    def before_node_run(self, node: Node, catalog: CatalogProtocol) -> None:
        """Checks that what the run has made so far and what was there before belong together."""
        found = {name: catalog.get(name) for name in filter(_is_data, node.inputs)}
        try:
            merged(dataset.manifest().entries() for dataset in found.values() if isinstance(dataset, Signed))
        except MixedError as error:
            raise InputError(f"{error}. Make everything again: kedro run --pipeline=full.") from error


class _Run:
    """One run: its recipes, and the checks of its inputs."""

    def __init__(self, run_params: dict[str, Any], catalog: CatalogProtocol) -> None:
        self._catalog = catalog
        self._names = list(run_params["pipeline_names"] or ["full"])
        self._env = run_params["env"]
        self._given = run_params.get("runtime_params")
        self._as_stored = all(AS_STORED in node.tags for name in self._names for node in pipelines[name].nodes)
        self._code = code_state()

    def recipes(self, pipeline: Pipeline) -> dict[str, Recipe]:
        """The recipe of every output that is stored with a manifest, by name."""
        maker = {name: node for node in pipeline.nodes for name in node.outputs}

        def traced(node: Node) -> tuple[dict[str, Any], dict[str, Any]]:
            """Parameters and nearest stored inputs of a node, traced through datasets in memory."""
            configuration: dict[str, Any] = {}
            parents: dict[str, Any] = {}
            for name in node.inputs:
                key = name.removeprefix("params:")
                if not _is_data(name):
                    if key not in _UNRECORDED:
                        configuration[key] = without_credentials(plain(self._catalog.load(name)))
                elif isinstance(dataset := self._catalog.get(name), Signed | Source):
                    parents[name] = dataset
                elif name in maker:
                    more = traced(maker[name])
                    configuration, parents = more[0] | configuration, more[1] | parents
            return configuration, parents

        found, made_by = {}, "+".join(self._names)
        for name, node in maker.items():
            dataset = self._catalog.get(name)
            # A manifest in conf/ would be read as configuration.
            if isinstance(dataset, Signed) and not short_path(Path(dataset._filepath)).startswith("conf/"):
                configuration, parents = traced(node)
                gate = self._gate(name)
                found[name] = Recipe(name, node.name, made_by, self._env, configuration, parents, self._code, gate)
        return found

    def _gate(self, name: str) -> Any:
        """The gate that checks a dataset before it is saved, if it keeps a record."""
        spec = getattr(self._catalog, "validator_specs", {}).get(name)
        gate = load_obj(spec.class_path)(**spec.options) if spec and "save" in spec.on else None
        return gate if hasattr(gate, "record") else None

    def check(self, names: list[str]) -> None:
        """Raises `InputError` where a dataset that the run reads does not fit it."""
        self._check_there(names)
        manifests = {
            name: self._intact(name, dataset)
            for name in names
            if isinstance(dataset := self._catalog.get(name), Signed)
        }
        try:
            entries = merged(manifest.entries() for manifest in manifests.values())
        except MixedError as error:
            raise InputError(f"{error}. {self._again([error.older.dataset])}.") from error
        if entries:
            self._check_source(entries)
            self._check_parameters(entries)
            self._compare_code(entries)

    def _check_there(self, names: list[str]) -> None:
        missing = [name for name in names if _maker(name) and not self._catalog.exists(name)]
        for name in missing:
            if (dataset := self._catalog.get(name)) is None or not hasattr(dataset, "_filepath"):
                node = next(n.name for n in pipelines[_maker(name)].nodes if name in n.outputs)  # type: ignore[index]
                raise InputError(f"'{name}' is not kept between runs: begin where it is made (--from-nodes={node}).")
        if missing:
            first = short_path(Path(self._catalog.get(missing[0])._filepath))  # type: ignore[union-attr]
            inputs = f"{first} and {len(missing) - 1} more inputs are" if len(missing) > 1 else f"{first} is"
            raise InputError(f"{inputs} not there: run {self._command(self._first(missing))} first{_OR_ALL}.")

    def _first(self, missing: Iterable[str]) -> str:
        """The earliest stage that has to run before these can be made."""
        stage = _maker(_earliest(missing)) or "full"
        before = [name for name in pipelines[stage].inputs() if _maker(name) and not self._catalog.exists(name)]
        return self._first(before) if before else stage

    def _intact(self, name: str, dataset: Signed) -> Manifest:
        path = Path(dataset._filepath)
        try:
            manifest = dataset.manifest()
        except InputError as error:
            raise InputError(f"{error}. {self._again([name])}.") from error
        if manifest.dataset != name or manifest.content != content_hash(path):
            raise InputError(
                f"{short_path(path)} is not what its manifest describes: it was changed, replaced or damaged, or "
                f"the run that made it was killed. {self._again([name])}."
            )
        return manifest

    def _check_source(self, entries: dict[str, Entry]) -> None:
        """Refuses what was made from other raw data than this run names, if it names any."""
        if self._as_stored and self._env is None:
            return
        for name, was in entries.items():
            if was.node is None and (source := self._source(name)) is not None:
                differences = _differences(was.configuration, source.description(), ignored=set())
                if not differences and source.files and not self._same_content(source.files, was):
                    differences = ["its content has changed"]
                if differences:
                    stored = _earliest(_made_from(name) & {name for name, entry in entries.items() if entry.node})
                    raise InputError(
                        f"{entries[stored].place} was made from {was.place}, which is not what this run names, "
                        f"{source.shown}: {_some(differences)}. {self._again([stored])}, or name the source that it "
                        "was made from (--env and --params)."
                    )

    def _source(self, name: str) -> Source | None:
        try:
            source = self._catalog.get(name)
        except (DatasetError, InputError):  # for example --env=csv without a file: the run names no source
            return None
        return source if isinstance(source, Source) and source.named else None

    def _same_content(self, files: RawFiles, was: Entry) -> bool:
        same_place = files.shown == was.place
        if same_place and self._as_stored:
            return True
        try:
            there = files.are_there()
        except UnreachableError as error:
            if not same_place:
                raise
            # As for a file that is not there any more: what was made from it is used.
            log.warning("Whether the raw data have changed since they were read is not known: %s", error)
            return True
        if not there:
            return same_place or self._as_stored
        return (same_place and files.stamp() == was.stamp) or files.content() == was.content

    def _check_parameters(self, entries: dict[str, Entry]) -> None:
        """Refuses what was made with other parameters than those of this run."""
        # With all defaults, including those of sections that this run's own nodes do not take.
        from pinet_kedro.runs.sections import typed_sections  # with pandas, half a second

        given = plain(typed_sections(plain(self._catalog.load("parameters"))))
        stale = {}
        for name, entry in entries.items():
            was = {key: value for key, value in entry.configuration.items() if entry.node and key not in _UNCHECKED}
            if differences := _differences(was, {key: _lookup(given, key) for key in was}):
                stale[name] = differences
        if stale:
            name = _earliest(stale)
            entry = entries[name]
            env = f" and repeat --env={entry.environment}" if entry.environment != self._env else ""
            raise InputError(
                f"{entry.place} was made with {_some(stale[name])}. {self._again([name])}, or leave these parameters "
                f"as they were{env if entry.environment else ''}."
            )

    def _compare_code(self, entries: dict[str, Entry]) -> None:
        others = [entry for entry in entries.values() if entry.code and entry.code["source"] != self._code["source"]]
        if others:
            log.warning(
                "%d of the stored datasets that this run reads or comes from were made by other code (such as %s: "
                "version %s, git %s): this code might make them differently.",
                len(others), others[0].place, others[0].code["version"], others[0].code["git"],
            )  # fmt: skip

    def _again(self, names: Iterable[str]) -> str:
        """The way out for stored datasets that do not fit."""
        return f"Make it again with {self._command(_maker(_earliest(names)))} and the stages after it{_OR_ALL}"

    def _command(self, pipeline: str | None) -> str:
        return run_command([pipeline or "full"], self._env, self._given)


def _is_data(name: str) -> bool:
    return name != "parameters" and not name.startswith("params:")


def _maker(name: str) -> str | None:
    """The first registered pipeline that makes a dataset; they are in the order of the stages."""
    return next((pipeline for pipeline in pipelines if name in pipelines[pipeline].all_outputs()), None)


def _made_from(source: str) -> set[str]:
    """Every dataset that a pipeline makes from a raw source, directly or not."""
    using = [pipeline for pipeline in pipelines.values() if source in pipeline.inputs()]
    return {name for pipeline in using for name in pipeline.from_inputs(source).all_outputs()}


def _earliest(names: Iterable[str]) -> str:
    """The dataset that is made first."""
    order = [None, *pipelines]
    return min(names, key=lambda name: order.index(_maker(name)))


def _lookup(parameters: dict[str, Any], key: str) -> Any:
    value: Any = parameters
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _differences(was: dict[str, Any], now: dict[str, Any], ignored: Set[str] = _MACHINE) -> list[str]:
    """The differences in words; those of parameters whose names end in one that is ignored do not count."""
    before, after = flat(was), flat(now)
    names = [name for name in before | after if name.rpartition(".")[2] not in ignored]
    unset = "not set"
    return [
        f"{name} = {before.get(name, unset)} (this run: {after.get(name, unset)})"
        for name in names
        if before.get(name, unset) != after.get(name, unset)
    ]


def _some(differences: list[str]) -> str:
    more = f" and {len(differences) - _SHOWN} more" if len(differences) > _SHOWN else ""
    return ", ".join(differences[:_SHOWN]) + more
