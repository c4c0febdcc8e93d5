"""Method x backbone x seed, one stored cell at a time: stop, resume, add."""

import hashlib
import json
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm import tqdm

from pinet_kedro.activeness import ReportingStrata
from pinet_kedro.interactions.sequences import Sequences
from pinet_kedro.interactions.split import Split
from pinet_kedro.operations.benchmark_config import Benchmark
from pinet_kedro.operations.datasets import ParquetDataset, RecommenderDataset
from pinet_kedro.operations.provenance import plain
from pinet_kedro.plugins.config import PluginTraining
from pinet_kedro.training.config import BackboneTraining


@dataclass(frozen=True)
class Cell:
    """One training run: its method and the whole configuration that it follows."""

    method: str
    training: BackboneTraining
    joint: bool
    plugins: dict[str, PluginTraining]

    def __str__(self) -> str:
        return f"{self.method}, {self.training.backbone.name}, seed {self.training.seed}"

    def model_name(self, data: str) -> str:
        """Name under which the trained model is stored; changes with the data and with all that training depends on."""
        told = plain(self.training)
        del told["threads"], told["device"]
        if self.joint:
            del told["aggregation"]
        return _digest({"data": data, "training": told})

    def name(self, data: str) -> str:
        """Name under which the ranks are stored; changes with the model, its name and the plugins."""
        return _digest({"model": self.model_name(data), "method": self.method, "plugins": plain(self.plugins)})


def _digest(told: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]


def cells(config: Benchmark, training: BackboneTraining, plugins: PluginTraining) -> list[Cell]:
    """Every cell of a benchmark, seed by seed, so that all methods have the same seeds whenever one stops it."""
    told = {name: plain(plugins) | sections for name, sections in config.plugins.items() if sections is not None}
    variants = {name: PluginTraining.model_validate(sections) for name, sections in told.items()}
    out = []
    for seed in config.seeds:
        for backbone in config.backbones or (training.backbone,):
            for method, sections in config.methods.items():
                if sections is None:
                    continue
                merged = {**plain(training), "backbone": plain(backbone), **sections, "seed": seed}
                merged["schedule"] = {**plain(training.schedule), **sections.get("schedule", {})}
                joint = merged["aggregation"] is None
                if joint:
                    del merged["aggregation"]
                settings = BackboneTraining.model_validate(merged)
                out.append(Cell(method, settings, joint, variants))
    return out


@dataclass
class Bench:
    """What all cells share: the prepared data, `hash` being the data's, and the folder where results are kept."""

    sequences: Sequences
    split: Split
    strata: ReportingStrata
    items: pd.DataFrame
    hash: str
    folder: Path
    _scorers: dict[str, Any] = field(default_factory=dict)

    def ranks(self, cell: Cell) -> ParquetDataset:
        """Where a cell's ranks are stored."""
        return ParquetDataset(filepath=str(self.folder / f"{cell.name(self.hash)}.parquet"))

    def run(self, todo: list[Cell], workers: int = 1) -> pd.DataFrame:
        """Ranks of every cell's models on the test targets: `method, backbone, seed, model, user, rank, candidates`.

        `model` is the method itself, or the method with plugins by stratum (`<method>+<variant>`) or with one for all
        (`<method>+shared`, of the first variant). What an earlier run has stored is read, trained models included:
        other plugins do not train a backbone again.
        """
        missing = [cell for cell in todo if not self.ranks(cell).exists()]
        with tqdm(total=len(todo), initial=len(todo) - len(missing), unit="cell", desc="benchmark") as bar:
            for cell in self._finished(missing, workers):
                bar.set_postfix_str(f"{cell} done")
                bar.update()
        return pd.concat([self.ranks(cell).load() for cell in todo], ignore_index=True)

    def _finished(self, missing: list[Cell], workers: int) -> Iterator[Cell]:
        if workers == 1:
            yield from map(self._run, missing)
            return
        # Spawned, for a forked torch may hang. Without the cancelling, Ctrl-C would first train all that is queued.
        with ProcessPoolExecutor(workers, get_context("spawn"), _start_worker, (self,)) as pool:
            try:
                yield from (future.result() for future in as_completed([pool.submit(_run_cell, c) for c in missing]))
            finally:
                pool.shutdown(cancel_futures=True)

    def _run(self, cell: Cell) -> Cell:
        import torch

        from pinet_kedro.evaluation.ranks import rank_models
        from pinet_kedro.training.plugin import fit_plugins

        training = cell.training
        if training.threads:
            torch.set_num_threads(training.threads)
        alone = self._trained(cell)
        models = {cell.method: alone}
        for variant, config in cell.plugins.items():
            scorers = self._build_scorers(alone.popularity, config)
            own, shared = fit_plugins(alone.backbone, self.sequences, self.split, self.strata, scorers, config)
            models.setdefault(f"{cell.method}+shared", replace(alone, plugins=shared))
            models[f"{cell.method}+{variant}"] = replace(alone, plugins=own)
        ranks = rank_models(models, self.sequences, self.split)
        self.ranks(cell).save(ranks.assign(method=cell.method, backbone=training.backbone.name, seed=training.seed))
        return cell

    def _build_scorers(self, popularity: Any, config: PluginTraining) -> Any:
        """Built once a process: they depend on the data and on their own configuration, not on the cell."""
        from pinet_kedro.training.scorers import build_scorers

        told = config.model_dump_json(include={"memory", "memory_search", "factors", "seed", "folds"})
        if told not in self._scorers:
            self._scorers[told] = build_scorers(self.sequences, self.split, popularity, config)
        return self._scorers[told]

    def _trained(self, cell: Cell) -> Any:
        from pinet_kedro.plugins.popularity import count_popularity
        from pinet_kedro.recommender import Recommender
        from pinet_kedro.training.backbone import train_backbone

        store = RecommenderDataset(filepath=str(self.folder / "models" / cell.model_name(self.hash)))
        if not store.exists():
            backbone = train_backbone(
                self.sequences, self.split, self.strata, len(self.items), cell.training,
                None if cell.joint else cell.training.aggregation,
            )  # fmt: skip
            popularity = count_popularity(self.sequences, self.split, len(self.items))
            store.save(Recommender(backbone, self.strata, popularity, self.items["item_id"].to_numpy(object)))
        return store.load()


def _start_worker(bench: Bench) -> None:
    global _bench
    _bench = bench


def _run_cell(cell: Cell) -> Cell:
    return _bench._run(cell)
