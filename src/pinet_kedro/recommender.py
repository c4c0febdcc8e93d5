"""A trained model for evaluation, storage, registration and serving: raw item ids in, ranked raw item ids out."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from pydantic import TypeAdapter
from safetensors.torch import load_file, save_file
from torch import Tensor

from pinet_kedro.activeness import ReportingStrata
from pinet_kedro.asking import Asked, Cells, Constraints, Recommended, best_columns, select
from pinet_kedro.backbones.backbone import Backbone, build_backbone
from pinet_kedro.backbones.config import BackboneConfig
from pinet_kedro.categories import ItemCategories
from pinet_kedro.dataset import Dataset
from pinet_kedro.evidence import block_users, gather_evidence
from pinet_kedro.interactions.ids import spell_ids
from pinet_kedro.plugins.config import PluginTraining
from pinet_kedro.plugins.plugins import Plugins
from pinet_kedro.plugins.popularity import Popularity, count_popularity
from pinet_kedro.plugins.scorers import FrozenScorers
from pinet_kedro.plugins.spaces import Evidence
from pinet_kedro.retrieval.candidates import Candidates, Scored


@dataclass(frozen=True)
class Recommender:
    """A frozen backbone, optionally with plugins for the strata, and what routing and fallback need.

    With plugins it is the paper's PIN; without, a plain sequential recommender. `item_ids[j - 1]` is the raw id of
    item j. `exclude_seen` is the policy of its evaluation and serving: whether items of a history are never
    recommended. `categories` are for requests that filter by them, and `candidates` for recommending in two stages;
    only a registered model gets either.
    """

    backbone: Backbone
    strata: ReportingStrata
    popularity: Popularity
    item_ids: np.ndarray
    plugins: Plugins | None = None
    exclude_seen: bool = True
    categories: ItemCategories | None = None
    candidates: Candidates | None = None

    def __post_init__(self) -> None:
        self.backbone.finish()

    @property
    def n_items(self) -> int:
        return len(self.item_ids)

    @cached_property
    def _index(self) -> dict[str, int]:
        return dict(zip(self.item_ids.tolist(), range(self.n_items), strict=True))

    @property
    def scored(self) -> Scored:
        """What candidates are searched and scored by."""
        return Scored(self.backbone, self.plugins, self.popularity)

    @property
    def history_length(self) -> int:
        return max(self.backbone.config.max_length, self.plugins.scorers.history_length if self.plugins else 0)

    def evidence(self, histories: Int[Tensor, "B L"]) -> Evidence:
        """The inputs of the plugins, over the whole catalogue."""
        return gather_evidence(self.backbone, self.plugins.scorers if self.plugins else None, histories)

    def shares_evidence(self, other: "Recommender") -> bool:
        """Whether both models have equal backbones and, if both have plugins, equal frozen scorers."""
        if self.backbone.config != other.backbone.config or not _equal(
            self.backbone.state_dict(), other.backbone.state_dict()
        ):
            return False
        if self.plugins is None or other.plugins is None or self.plugins.scorers is other.plugins.scorers:
            return True
        mine, theirs = self.plugins.scorers, other.plugins.scorers
        alike = mine.names == theirs.names and mine.configuration() == theirs.configuration()
        return alike and _equal(mine.tensors(), theirs.tensors())

    @torch.no_grad()
    def scores(
        self, histories: Int[Tensor, "B L"], lengths: Int[np.ndarray, " B"], evidence: Evidence | None = None
    ) -> Float[Tensor, "B I"]:
        """Logits of items 1..I after left-padded histories.

        `lengths` route users to plugins: the number of known events at the time of the request, including events
        before the window. A server knows nothing else about a user.

        `evidence` for these histories may come from a model that shares it (`shares_evidence`). An empty history gets
        popularity with recency, log(pop_j + 1) + log((rec_j + 1)/(pop_j + 2)).
        """
        found = self.evidence(histories) if evidence is None else evidence
        if self.plugins is None:
            scores = found.scores if evidence is None else found.scores.clone()
        else:
            scores = self.plugins.logits(found, self.strata.training.assign(lengths))
        empty = (histories == 0).all(1)
        if empty.any():
            fallback = self.popularity.log_popularity + self.popularity.log_recency
            scores[empty] = torch.from_numpy(fallback).to(scores.dtype)
        return scores

    def best(
        self,
        histories: Int[Tensor, "B L"],
        lengths: Int[np.ndarray, " B"],
        k: int,
        hidden: Cells,
        only: Sequence[Int[np.ndarray, " A"] | None] = (),
        spread: dict[int, tuple[int, int]] | None = None,
    ) -> tuple[Float[Tensor, "B K"], Int[Tensor, "B K"]]:
        """Scores and columns (0..I-1) of each user's best K = min(k, I) items, the best first.

        `hidden` (rows, columns) are items that are not recommended; `only` has for each user the columns that may be,
        None: all. For a user in `spread` (row: (k, n)), the first k items have at least n categories if possible, and
        no others follow. If fewer than K items remain, the rest have the score -inf. Raises `FloatingPointError` on
        NaN, which `topk` would put first.

        With `candidates`, users get the best of these (`Candidates.best`), unless the constraints leave too few, `only`
        or `spread` needs the whole catalogue, the history is empty, or k is larger than `candidates.most`.
        """
        k = min(k, self.n_items)
        if self.candidates is None or k > self.candidates.most:
            return self.best_of_all(histories, lengths, k, hidden, only, spread)
        slow = lengths == 0
        slow[[row for row, allowed in enumerate(only) if allowed is not None]] = True
        slow[list(spread or ())] = True
        scores, columns = torch.full((len(slow), k), -torch.inf), torch.zeros((len(slow), k), dtype=torch.int64)
        quick = np.flatnonzero(~slow)
        stratum, gone = self.strata.training.assign(lengths[quick]), _of(quick, hidden)
        scores[quick], columns[quick] = self.candidates.best(self.scored, histories[quick], stratum, k, gone)
        rows = np.flatnonzero(slow | (scores[:, -1] == -torch.inf).numpy())
        if len(rows):
            among = [only[row] for row in rows.tolist()] if only else ()
            place = {row: place for place, row in enumerate(rows.tolist())}
            apart = {place[row]: asked for row, asked in (spread or {}).items()}
            exact = self.best_of_all(histories[rows], lengths[rows], k, _of(rows, hidden), among, apart)
            scores[rows], columns[rows] = exact
        return scores, columns

    def best_of_all(
        self,
        histories: Int[Tensor, "B L"],
        lengths: Int[np.ndarray, " B"],
        k: int,
        hidden: Cells,
        only: Sequence[Int[np.ndarray, " A"] | None] = (),
        spread: dict[int, tuple[int, int]] | None = None,
    ) -> tuple[Float[Tensor, "B K"], Int[Tensor, "B K"]]:
        """As `best`, by the scores of the whole catalogue, those of `block_users` users at a time."""
        rows, columns = hidden
        block, found = block_users(self.n_items), []
        for start in range(0, len(histories), block):
            part, inside = slice(start, start + block), (rows >= start) & (rows < start + block)
            scores = self.scores(histories[part], lengths[part])
            for row, allowed in enumerate(only[part]):
                if allowed is not None:
                    left = scores[row, allowed]
                    scores[row] = -torch.inf
                    scores[row, allowed] = left
            scores[rows[inside] - start, columns[inside]] = -torch.inf
            best = best_columns(scores, k)
            for row, (own, least) in (spread or {}).items():
                if start <= row < start + block:
                    self._spread(scores[row - start], best[0][row - start], best[1][row - start], own, least)
            found.append(best)
        best_scores, columns = map(torch.cat, zip(*found, strict=True))
        if torch.isnan(best_scores).any():
            raise FloatingPointError("a score of the model is not a number")
        return best_scores, columns

    def _spread(self, scores: Tensor, best: Tensor, columns: Tensor, k: int, least: int) -> None:
        """Replaces items among a user's first k in place; the rest gets the score -inf."""
        assert self.categories is not None
        chosen = torch.from_numpy(self.categories.spread(scores.numpy(), columns[:k].numpy(), least))
        best[len(chosen) :] = -torch.inf
        best[: len(chosen)], columns[: len(chosen)] = scores[chosen], chosen

    def recommend(
        self,
        histories: list[list[str]],
        k: int | Sequence[int] = 10,
        exclude_seen: bool | None = None,
        constraints: Sequence[Constraints] | None = None,
    ) -> list[Recommended]:
        """The best k items for every history, fewer if fewer may be recommended.

        A history has raw item ids, oldest first. `k` is one number, or one for every history. `exclude_seen` defaults
        to the model's policy. `constraints` has, for every history, what may be recommended; they change neither scores
        nor order. Unknown ids are skipped. '7.0' and 7 are the id '7' (`interactions/ids.py`).
        """
        if not histories:
            return []
        ks = [k] * len(histories) if isinstance(k, int) else k
        asked = self.encode(histories, ks, exclude_seen, constraints)
        best, found = self.best(asked.padded, asked.lengths, max(ks), asked.hidden, asked.only, asked.spread)
        head = self.strata.head_tail.assign(asked.lengths)
        recommendations = []
        for row, (own, score, column) in enumerate(zip(ks, best.numpy(), found.numpy(), strict=True)):
            left = np.isfinite(score[:own])
            columns, stratum = column[:own][left], "head" if head[row] else "tail"
            items, scores = self.item_ids[columns].tolist(), score[:own][left].tolist()
            fallback = bool(asked.lengths[row] == 0)
            distinct = self.categories.distinct(columns) if self.categories and row in asked.spread else None
            recommendations.append(Recommended(items, scores, stratum, asked.unknown[row], fallback, distinct))
        return recommendations

    def encode(
        self,
        histories: list[list[str]],
        ks: Sequence[int],
        exclude_seen: bool | None = None,
        constraints: Sequence[Constraints] | None = None,
    ) -> Asked:
        """The inputs of `best` for raw item ids. Raises `InputError` for an unknown category."""
        known = [self._columns(history) for history in histories]
        lengths = np.array([len(history) for history in known], np.int64)
        length = min(max(lengths.max(), 1), self.history_length)
        padded = np.zeros((len(known), length), np.int64)
        for row, history in zip(padded, known, strict=True):
            newest = history[-length:]
            row[length - len(newest) :] = newest + 1
        asked = constraints or [Constraints()] * len(known)
        hidden, only = zip(*(select(row, self._columns, self.categories) for row in asked), strict=True)
        if self.exclude_seen if exclude_seen is None else exclude_seen:
            hidden = tuple(np.concatenate([seen, more]) for seen, more in zip(known, hidden, strict=True))
        rows = np.repeat(np.arange(len(hidden)), [len(columns) for columns in hidden])
        return Asked(
            padded=torch.from_numpy(padded),
            lengths=lengths,
            unknown=[len(given) - len(found) for given, found in zip(histories, known, strict=True)],
            hidden=(torch.from_numpy(rows), torch.from_numpy(np.concatenate(hidden))),
            only=only,
            spread={row: (ks[row], one.min_categories) for row, one in enumerate(asked) if one.min_categories},
        )

    def _columns(self, items: Sequence[str]) -> Int[np.ndarray, " A"]:
        """The columns (0..I-1) of the known ones among raw ids."""
        found = [self._index[item] for item in spell_ids(items) if item in self._index]
        return np.array(found, np.int64)

    def save(self, folder: Path) -> None:
        """Writes `weights.safetensors`, `items.json` and `recommender.json` into an existing folder."""
        tensors = {f"backbone.{name}": value for name, value in self.backbone.state_dict().items()}
        tensors["popularity.counts"] = torch.from_numpy(self.popularity.counts)
        tensors["popularity.recent"] = torch.from_numpy(self.popularity.recent)
        description: dict[str, Any] = {
            "backbone": self.backbone.config.model_dump(mode="json"),
            "strata": self.strata.model_dump(mode="json"),
            "exclude_seen": self.exclude_seen,
            "plugins": None,
        }
        if self.plugins is not None:
            tensors |= {"plugins.theta": self.plugins.theta, **self.plugins.scorers.tensors()}
            description["plugins"] = {
                "config": self.plugins.config.model_dump(mode="json"),
                "choice": list(self.plugins.choice),
                "scorers": self.plugins.scorers.configuration(),
            }
        if self.categories is not None:
            description["categories"] = list(self.categories.names)
            tensors |= {name: torch.from_numpy(values) for name, values in self.categories.arrays().items()}
        if self.candidates is not None:
            self.candidates.save(folder)
        save_file({name: value.contiguous() for name, value in tensors.items()}, folder / "weights.safetensors")
        (folder / "items.json").write_text(json.dumps(self.item_ids.tolist()), encoding="utf-8")
        (folder / "recommender.json").write_text(json.dumps(description, indent=2), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> "Recommender":
        """The recommender that `save` wrote. No file in the folder can execute code."""
        description = json.loads((folder / "recommender.json").read_text(encoding="utf-8"))
        item_ids = _spelled(json.loads((folder / "items.json").read_text(encoding="utf-8")))
        tensors = load_file(folder / "weights.safetensors")
        settings = description["backbone"]
        if settings["name"] == "sasrec":  # models of earlier releases, which did not store these settings
            settings = {"positions": "absolute", "item_norm": "free"} | settings
        config: BackboneConfig = TypeAdapter(BackboneConfig).validate_python(settings)
        backbone = build_backbone(config, len(item_ids))
        prefix = "backbone."
        backbone.load_state_dict({k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)})
        backbone.finished = True
        popularity = Popularity(tensors["popularity.counts"].numpy(), tensors["popularity.recent"].numpy())
        plugins = None
        if description["plugins"]:
            plugins = Plugins(
                config=PluginTraining.model_validate(description["plugins"]["config"]),
                theta=tensors["plugins.theta"],
                choice=tuple(description["plugins"]["choice"]),
                scorers=FrozenScorers.restore(tensors, description["plugins"]["scorers"], popularity),
            )
        return cls(
            backbone=backbone,
            strata=ReportingStrata.model_validate(description["strata"]),
            popularity=popularity,
            item_ids=item_ids,
            plugins=plugins,
            exclude_seen=description.get("exclude_seen", True),  # versions without the field were served with True
            categories=ItemCategories.restore(tensors, names) if (names := description.get("categories")) else None,
            candidates=Candidates.load(folder),
        )


@dataclass(frozen=True)
class NoModel:
    """A placeholder for a recommender that the configuration does not train; `why` gives the reason."""

    why: str

    def save(self, folder: Path) -> None:
        """Writes `recommender.json` into an existing folder."""
        (folder / "recommender.json").write_text(json.dumps({"none": self.why}), encoding="utf-8")


def load_model(folder: Path) -> Recommender | NoModel:
    """The model that `Recommender.save` or `NoModel.save` wrote."""
    description = json.loads((folder / "recommender.json").read_text(encoding="utf-8"))
    return NoModel(description["none"]) if "none" in description else Recommender.load(folder)


def new_recommender(backbone: Backbone, dataset: Dataset) -> Recommender:
    """A recommender without plugins from a trained backbone and the dataset of its training."""
    popularity, policy = count_popularity(dataset), dataset.split.exclude_seen
    return Recommender(backbone, dataset.strata, popularity, dataset.item_ids, exclude_seen=policy)


def _spelled(item_ids: list[str]) -> np.ndarray:
    """The ids in the current spelling; models of earlier versions may have another one ('7.0' for 7)."""
    spelled = spell_ids(item_ids)
    return np.array(spelled if len(set(spelled)) == len(item_ids) else item_ids, dtype=object)


def _equal(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> bool:
    return ours.keys() == theirs.keys() and all(torch.equal(value, theirs[name]) for name, value in ours.items())


def _of(rows: Int[np.ndarray, " R"], cells: Cells) -> Cells:
    """The cells of these rows (ascending), which are numbered by their place."""
    inside = np.isin(cells[0].numpy(), rows)
    return torch.from_numpy(np.searchsorted(rows, cells[0][inside].numpy())), cells[1][inside]
