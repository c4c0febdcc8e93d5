"""Method x backbone x seed, one stored cell at a time: stop, resume, add."""

import hashlib
import json
import logging
import pickle
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from multiprocessing import active_children, get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd

from pinet_kedro.activeness import Stratification
from pinet_kedro.checking import checked
from pinet_kedro.configuration import Configuration
from pinet_kedro.dataset import Dataset
from pinet_kedro.datasets.files import ParquetDataset
from pinet_kedro.datasets.folders import RecommenderDataset
from pinet_kedro.errors import InputError
from pinet_kedro.parameters import plain
from pinet_kedro.plugins.config import PluginTraining
from pinet_kedro.processes.stopping import ignore_interrupts, interrupts_left_to_the_command
from pinet_kedro.progress import show_progress
from pinet_kedro.provenance import method_version
from pinet_kedro.studies.benchmark.config import Benchmark
from pinet_kedro.studies.benchmark.trained import train, train_on, training_data
from pinet_kedro.studies.transfer.config import SeparateConfig, TransferConfig
from pinet_kedro.training.config import BackboneTraining

log = logging.getLogger("pinet_kedro")


class _Method(Configuration):
    """Settings of a method that are not differences from `backbone_training`."""

    transfer: TransferConfig | None = None
    stratification: Stratification | None = None


_APART = tuple(_Method.model_fields)
# Settings of plugins that the frozen scorers do not depend on.
_OF_THE_FIT = {"kind", "backbone", "ridge", "rank"}
# Code that decides, beside the method, what is trained and stored, and what is ranked.
_TRAINED, _TRANSFERRED = "studies/benchmark/trained.py", "studies/transfer"
_RANKED = ("studies/benchmark/bench.py", "asking.py")  # the latter decides about equal scores in the lists


@dataclass(frozen=True)
class Cell:
    """One training run: its method and the whole configuration that it follows.

    With `transfer` the trained model is where the method starts from, and its ranks are without plugins. With
    `stratification` its gradients are aggregated over strata of its own; plugins and reports keep the benchmark's.
    `as_shipped`: it is also ranked after a refit.
    """

    method: str
    training: BackboneTraining
    plugins: dict[str, PluginTraining]
    transfer: TransferConfig | None = None
    stratification: Stratification | None = None
    as_shipped: bool = False

    @property
    def joint(self) -> bool:
        """Whether the model is trained without an aggregation of gradients."""
        return self.training.aggregation is None

    def __str__(self) -> str:
        return f"{self.method}, {self.training.backbone.name}, seed {self.training.seed}"

    def model_name(self, dataset: Dataset) -> str:
        """Name under which the trained model is stored.

        It changes with the data and with everything that training depends on, including the code.
        """
        training = plain(self.training.anywhere())
        if self.joint:
            del training["aggregation"]
        else:
            training["strata"] = (
                plain(self.stratification) if self.stratification else dataset.strata.training.thresholds
            )
        # These models are used by this method alone, so no other cell waits for them.
        alone = {"transfer": plain(self.transfer)} if isinstance(self.transfer, SeparateConfig) else {}
        return _digest({"data": dataset.split_sha256, "training": training, **alone}, _TRAINED)

    def name(self, dataset: Dataset) -> str:
        """Name under which the ranks are stored; changes with the model, its name, the plugins and the transfer."""
        model, _, _ = self.model_name(dataset).partition("-")  # `_digest` adds the version of the code at the end
        ranked = {"model": model, "method": self.method, "strata": plain(dataset.strata)}
        others = {"transfer": plain(self.transfer), "as_shipped": self.as_shipped}
        code = (_TRAINED, *_RANKED, _TRANSFERRED) if self.transfer else (_TRAINED, *_RANKED)
        plugins = list(plain(self.plugins).items())  # in their order: `+shared` and `+refit` are of the first variant
        return _digest({**ranked, "plugins": plugins, **others}, *code)


def _digest(content: dict[str, Any], *code: str) -> str:
    return f"{hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]}-{method_version(*code)}"


def check_names(config: Benchmark) -> None:
    """Raises `InputError` if the method that all others are compared with, or one of `as_shipped`, is not configured.

    `as_shipped` may name a method that an environment has removed.
    """
    if config.methods.get(config.reference) is None:
        left = ", ".join(name for name, sections in config.methods.items() if sections is not None)
        raise InputError(f"benchmark.reference = '{config.reference}' is none of benchmark.methods; there are {left}.")
    if unknown := [name for name in config.as_shipped if name not in config.methods]:
        raise InputError(
            f"benchmark.as_shipped: '{unknown[0]}' is none of benchmark.methods; there are {', '.join(config.methods)}."
        )
    if fitted := [name for name in config.as_shipped if (config.methods[name] or {}).get("transfer")]:
        raise InputError(f"benchmark.as_shipped: '{fitted[0]}' has `transfer`, and such a method has no refit.")


def cells(config: Benchmark, training: BackboneTraining, plugins: PluginTraining) -> list[Cell]:
    """Every cell of a benchmark, seed by seed: wherever it is stopped, all methods have about the same seeds.

    Raises `InputError`, which names the method or variant, where its sections are wrong.
    """
    variants = {
        name: checked(PluginTraining, plain(plugins) | sections, f"benchmark.{kind}.{name}")
        for kind, several in (("plugins", config.plugins), ("ablations", config.ablations))
        for name, sections in several.items()
        if sections is not None
    }
    out = []
    for seed in config.seeds:
        for backbone in config.backbones or (training.backbone,):
            for method, sections in config.methods.items():
                if sections is None:
                    continue
                where = f"benchmark.methods.{method}"
                if "seed" in sections:
                    raise InputError(f"{where}.seed: the seeds of all methods are those of benchmark.seeds.")
                own = checked(_Method, {name: sections[name] for name in _APART if name in sections}, where)
                merged = {**plain(training), "backbone": plain(backbone), **sections, "seed": seed}
                for name in _APART:
                    merged.pop(name, None)
                if isinstance(given := sections.get("schedule", {}), dict):
                    merged["schedule"] = {**plain(training.schedule), **given}
                settings = checked(BackboneTraining, merged, where)
                wanted = config.plugins | (config.ablations if method == config.reference else {})
                fitted = {name: variants[name] for name in wanted if name in variants and own.transfer is None}
                refitted = method in config.as_shipped and own.transfer is None
                out.append(Cell(method, settings, fitted, own.transfer, own.stratification, refitted))
    return out


@dataclass
class Bench:
    """What all cells share: the data, and the folder of the results."""

    dataset: Dataset
    folder: Path
    _scorers: dict[str, Any] = field(default_factory=dict)

    def ranks(self, cell: Cell) -> ParquetDataset:
        """Dataset of a cell's ranks."""
        return ParquetDataset(filepath=str(self.folder / f"{cell.name(self.dataset)}.parquet"))

    def model(self, cell: Cell) -> RecommenderDataset:
        """Dataset of the model that a cell has trained."""
        return RecommenderDataset(filepath=str(self.folder / "models" / cell.model_name(self.dataset)))

    def curve(self, cell: Cell) -> ParquetDataset:
        """Dataset of that model's learning curve, one row per epoch."""
        return ParquetDataset(filepath=str(self.folder / "curves" / f"{cell.model_name(self.dataset)}.parquet"))

    def run(self, todo: list[Cell], workers: int = 1, title: str = "Models of the benchmark") -> pd.DataFrame:
        """Ranks of every cell's models on the test targets: `method, backbone, seed, model, user, rank, candidates`.

        `model` is the method itself, or the method with plugins by stratum (`<method>+<variant>`) or with one for all
        (`<method>+shared`, of the first variant); with `+refit` at the end after a refit on the validation events.
        What an earlier run has stored is read, trained models included: other plugins do not train a backbone again.
        """
        self._name_others(todo)
        missing = [cell for cell in todo if not self.ranks(cell).exists()]
        with show_progress(title, len(todo), "models", before=len(todo) - len(missing)) as done:
            for cell in self._finished(missing, workers):
                done(1, f"{cell} done")
        return pd.concat([self.ranks(cell).load() for cell in todo], ignore_index=True)

    def validation_ranks(self, cell: Cell, variant: str | None = None) -> pd.DataFrame:
        """Ranks of the trained model on the validation targets: `user, rank, candidates, model, seed`.

        With plugins of a `variant`, they are fitted on the other half of the users. Computed once and stored.
        """
        from pinet_kedro.evaluation.ranks import target_ranks
        from pinet_kedro.fitting.cross_fit import cross_fitted_ranks

        name = f"{cell.name(self.dataset)}+{variant or ''}"
        store = ParquetDataset(filepath=str(self.folder / "validation" / f"{name}.parquet"))
        if not store.exists():
            model, split, users = self.model(cell).load(), self.dataset.split, self.dataset.validation_users
            if variant:
                [ranks] = cross_fitted_ranks([model.backbone], self.dataset, cell.plugins[variant])
            else:
                ranks = target_ranks(model, self.dataset.sequences, users, split.valid_at[users], split.exclude_seen)
            store.save(pd.DataFrame({"user": users, "rank": ranks.rank, "candidates": ranks.candidates}))
        return store.load().assign(model=cell.method, seed=cell.training.seed)

    def _name_others(self, todo: list[Cell]) -> None:
        """Logs the cells that other code has computed: they stay where they are, and are not used."""
        wanted = {cell.name(self.dataset) for cell in todo}
        cells = {name.partition("-")[0] for name in wanted}
        others = [
            p.stem for p in self.folder.glob("*.parquet") if p.stem.partition("-")[0] in cells and p.stem not in wanted
        ]
        if others:
            versions, now = (
                ", ".join(sorted({name.partition("-")[2] or "unknown" for name in names})) for names in (others, wanted)
            )
            log.warning(
                "%d of these cells are in %s as other code has computed them (%s; now %s): they are not used, but "
                "computed anew.", len(others), self.folder, versions, now,
            )  # fmt: skip

    def _finished(self, missing: list[Cell], workers: int) -> Iterator[Cell]:
        workers = min(workers, len(missing))  # a process imports for 5 s before its first cell
        if workers <= 1:
            yield from map(self._run, missing)
            return
        # Cells that share a model wait for the first of them, which trains it.
        named = [(cell.model_name(self.dataset), cell) for cell in missing]
        first = dict(reversed(named))
        rest = [cell for name, cell in named if first[name] is not cell]
        with TemporaryDirectory(prefix="pinet-") as folder:
            # A file, since the pool would wait for ever if a process died before it had read an argument of this size.
            bench = Path(folder, "bench.pkl")
            bench.write_bytes(pickle.dumps(self))
            # Spawned, because a forked torch may hang.
            with interrupts_left_to_the_command():
                pool = ProcessPoolExecutor(workers, get_context("spawn"), _start_worker, (bench,))
            with pool:
                try:
                    for part in (list(reversed(first.values())), rest):
                        with interrupts_left_to_the_command():
                            running = [pool.submit(_run_cell, cell) for cell in part]
                        yield from (future.result() for future in as_completed(running))
                except BaseException:  # a signal, too: otherwise the run would end when all cells are trained
                    pool.shutdown(wait=False, cancel_futures=True)
                    ended = active_children()
                    for worker in ended:
                        worker.terminate()
                    for worker in ended:
                        worker.join()
                    raise

    def _run(self, cell: Cell) -> Cell:
        import torch

        from pinet_kedro.evaluation.ranks import rank_models

        if cell.training.threads:
            torch.set_num_threads(cell.training.threads)
        models = self._models(cell) if cell.transfer is None else {cell.method: self._transferred(cell, cell.transfer)}
        ranks = rank_models(models, self.dataset)
        training = cell.training
        self.ranks(cell).save(ranks.assign(method=cell.method, backbone=training.backbone.name, seed=training.seed))
        return cell

    def _models(self, cell: Cell) -> dict[str, Any]:
        from pinet_kedro.fitting.plugin import fit_plugins

        alone = self._trained(cell)
        models = {cell.method: alone}
        for variant, config in cell.plugins.items():
            scorers = self._build_scorers(alone.popularity, config)
            own, shared = fit_plugins(alone.backbone, self.dataset, scorers, config)
            models.setdefault(f"{cell.method}+shared", replace(alone, plugins=shared))
            models[f"{cell.method}+{variant}"] = replace(alone, plugins=own)
        return models | (self._refitted(cell, models) if cell.as_shipped else {})

    def _refitted(self, cell: Cell, models: dict[str, Any]) -> dict[str, Any]:
        """The method after a refit, alone and with the first variant of its plugins."""
        from pinet_kedro.fitting.refit import before_test, rebuilt

        learnt = before_test(training_data(self.dataset, cell.stratification))
        alone = models[cell.method]
        store = RecommenderDataset(filepath=str(self.folder / "models" / f"{cell.model_name(self.dataset)}-refit"))
        if not store.exists():
            store.save(train_on(alone, learnt, cell.training))
        again = replace(store.load(), strata=alone.strata)
        plugged = [f"{cell.method}+{variant}" for variant in list(cell.plugins)[:1]]
        others = {f"{name}+refit": rebuilt(models[name], again.backbone, learnt) for name in plugged}
        return {f"{cell.method}+refit": again, **others}

    def _transferred(self, cell: Cell, config: TransferConfig) -> Any:
        from pinet_kedro.studies.transfer.transfer import transfer

        # Strata of its own are those of its gradients alone: users are routed by head and tail of the benchmark.
        own = training_data(self.dataset, cell.stratification).strata.training
        data = replace(self.dataset, strata=self.dataset.strata.model_copy(update={"training": own}))
        return transfer(config, lambda: self._trained(cell).backbone, data, cell.training)

    def _build_scorers(self, popularity: Any, config: PluginTraining) -> Any:
        """The frozen scorers, built once per process: they depend on data and configuration, not on the cell."""
        from pinet_kedro.fitting.scorers import build_scorers

        key = config.model_dump_json(exclude=_OF_THE_FIT)
        if key not in self._scorers:
            self._scorers[key] = build_scorers(self.dataset, popularity, config)
        return self._scorers[key]

    def _trained(self, cell: Cell) -> Any:
        store = self.model(cell)
        if not store.exists():
            model, curve = train(training_data(self.dataset, cell.stratification), cell.training)
            self.curve(cell).save(curve)
            store.save(model)
        # Strata of its own are those of its gradients alone, and a joint model may come from a benchmark with others.
        return replace(store.load(), strata=self.dataset.strata)


def _start_worker(bench: Path) -> None:
    global _bench
    ignore_interrupts()
    _bench = pickle.loads(bench.read_bytes())


def _run_cell(cell: Cell) -> Cell:
    return _bench._run(cell)
