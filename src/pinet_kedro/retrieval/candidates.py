"""Candidates for a user from each scorer that is personal, and the exact scores of these alone."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy import sparse
from torch import Tensor

from pinet_kedro.asking import Cells, best_columns
from pinet_kedro.backbones.backbone import Backbone
from pinet_kedro.plugins.factors import ImplicitFactors
from pinet_kedro.plugins.plugins import Plugins
from pinet_kedro.plugins.popularity import Popularity
from pinet_kedro.plugins.spaces import Evidence
from pinet_kedro.retrieval.index import ItemIndex

_DESCRIPTION, _LINEAR, _FACTORS = "candidates.json", "candidates.faiss", "factors.faiss"
_USERS = 64  # of a block


@dataclass(frozen=True)
class Scored:
    """What scores items: a backbone, and its plugins if there are any."""

    backbone: Backbone
    plugins: Plugins | None
    popularity: Popularity

    def why_not(self) -> str | None:
        """Why candidates cannot be searched for this model; None if they can."""
        if not self.backbone.inner_products:
            return f"the scores of {self.backbone.config.name} are not inner products with vectors of items"
        if self.plugins is not None and self.plugins.config.kind != "logit_space":
            return f"its plugins are of the kind {self.plugins.config.kind}"
        return None

    @property
    def factors(self) -> ImplicitFactors | None:
        """The factors among the scorers of the plugins."""
        found = self.plugins.scorers.others.get("factors") if self.plugins else None
        return found if isinstance(found, ImplicitFactors) else None

    def term_names(self) -> tuple[str, ...]:
        """Names of what the plugins weigh, in the order of their weights."""
        return ("backbone", *self.plugins.scorers.names) if self.plugins else ("backbone",)

    def weights(self, stratum: Int[np.ndarray, " B"]) -> dict[str, Float[Tensor, " B"]]:
        """The weight of the backbone and of each term, for every user."""
        theta = self.plugins.theta[torch.from_numpy(stratum)] if self.plugins else torch.ones(len(stratum), 1)
        return dict(zip(self.term_names(), theta.unbind(1), strict=True))


@dataclass(frozen=True)
class Candidates:
    """Two-stage recommendation: `number` candidates from each of at most three sources, then their exact scores.

    The sources are τ h·v_j + w_p log(pop_j + 1) + w_r log((rec_j + 1)/(pop_j + 2)) as one inner product, the factors
    x_u·y_j as another, both searched approximately in `probes` cells (`ItemIndex`), and the items that the memory
    recalls. `scale` multiplies popularity and recency in the vectors of items and divides their weights, so that the
    cells depend on them no more than the scores do. `recall` of the exact best items, by k, was measured on users of
    the log (`fitting/two_stage.py`).
    """

    linear: ItemIndex
    factors: ItemIndex | None
    scale: dict[str, float]
    number: int
    probes: int
    recall: dict[str, float]

    @classmethod
    def of(cls, model: Scored, number: int) -> "Candidates":
        """The candidates of a model from all cells, without a recall: what `fitting/two_stage.py` starts from."""
        vectors, scale = [model.backbone.item_vectors().detach().cpu().numpy()], {}
        if model.plugins is not None:
            size = dict(zip(model.term_names(), model.plugins.theta.abs().mean(0).tolist(), strict=True))
            of_items = {"popularity": model.popularity.log_popularity, "recency": model.popularity.log_recency}
            scale = {name: size[name] / (size["backbone"] or 1.0) for name in of_items}
            vectors += [np.float32(scale[name]) * values[:, None] for name, values in of_items.items()]
        linear = ItemIndex.of(np.concatenate(vectors, axis=1))
        factors = None if model.factors is None else ItemIndex.of(model.factors.items.numpy())
        return cls(linear, factors, scale, number, probes=linear.cells, recall={})

    def __str__(self) -> str:
        found = " and ".join(f"{share * 100:.2f} % of the exact best {k}" for k, share in self.recall.items())
        return f"{found} ({self.probes} of {self.linear.cells} cells, {self.number} candidates from each source)"

    @property
    def most(self) -> int:
        """The largest k that is served from candidates."""
        return self.number // 5

    def save(self, folder: Path) -> None:
        """Writes `candidates.json` and the indexes into an existing folder."""
        self.linear.save(folder / _LINEAR)
        if self.factors is not None:
            self.factors.save(folder / _FACTORS)
        description = {name: getattr(self, name) for name in ("scale", "number", "probes", "recall")}
        (folder / _DESCRIPTION).write_text(json.dumps(description, indent=2), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> "Candidates | None":
        """The candidates that `save` wrote; None if the folder has none. Raises `InputError` without Faiss."""
        if not (folder / _DESCRIPTION).exists():
            return None
        description = json.loads((folder / _DESCRIPTION).read_text(encoding="utf-8"))
        factors = ItemIndex.load(folder / _FACTORS) if (folder / _FACTORS).exists() else None
        return cls(linear=ItemIndex.load(folder / _LINEAR), factors=factors, **description)

    @torch.no_grad()
    def best(
        self,
        model: Scored,
        histories: Int[Tensor, "B L"],
        stratum: Int[np.ndarray, " B"],
        k: int,
        hidden: Cells,
    ) -> tuple[Float[Tensor, "B K"], Int[Tensor, "B K"]]:
        """Scores and columns (0..I-1) of the best k candidates of users with a history, the best first.

        Where fewer are left without those in `hidden` (rows, columns), the rest have the score -inf.
        """
        found = [(torch.empty(0, k), torch.empty(0, k, dtype=torch.int64))]
        for start in range(0, len(histories), _USERS):
            part, inside = slice(start, start + _USERS), (hidden[0] >= start) & (hidden[0] < start + _USERS)
            gone = hidden[0][inside] - start, hidden[1][inside]
            found.append(self._best(model, histories[part], stratum[part], k, gone))
        scores, columns = zip(*found, strict=True)
        return torch.cat(scores), torch.cat(columns)

    def _best(
        self, model: Scored, histories: Tensor, stratum: np.ndarray, k: int, hidden: Cells
    ) -> tuple[Tensor, Tensor]:
        states = model.backbone.newest_states(histories[:, -model.backbone.config.max_length :])
        recalled = model.plugins.scorers.memory.recall(histories.numpy()) if model.plugins else None
        found = np.sort(self._found(model, states, histories.numpy(), stratum, recalled), axis=1)
        gone = (found < 0) | (np.diff(found, axis=1, prepend=-1) == 0)
        cells = np.arange(len(found))[:, None] * model.backbone.n_items + found
        gone |= np.isin(cells, hidden[0].numpy() * model.backbone.n_items + hidden[1].numpy())
        columns = torch.from_numpy(np.maximum(found, 0))
        vectors = model.backbone.item_vectors()
        scores = torch.einsum("bd,bcd->bc", states, vectors[columns])
        if model.plugins is not None and recalled is not None:
            terms = model.plugins.scorers.terms_at(histories.numpy(), columns, recalled)
            scores = model.plugins.logits(Evidence(scores, states, vectors, terms, columns), stratum)
        if torch.isnan(scores).any():
            raise FloatingPointError("a score of the model is not a number")
        best, place = best_columns(scores.masked_fill(torch.from_numpy(gone), -torch.inf), k)
        return best, columns.gather(1, place)

    def _found(
        self,
        model: Scored,
        states: Tensor,
        histories: np.ndarray,
        stratum: np.ndarray,
        recalled: sparse.csr_array | None,
    ) -> Int[np.ndarray, "B C"]:
        """Candidates of all sources, some twice, and −1 for none."""
        weights = model.weights(stratum)
        query = [weights["backbone"][:, None] * states]
        # A scale of 0 belongs to weights that are all 0.
        query += [(weights[name] / (scale or 1.0))[:, None] for name, scale in self.scale.items()]
        found = [self.linear.search(torch.cat(query, dim=1).numpy(), self.number, self.probes)]
        if model.factors is not None and self.factors is not None:
            found.append(self.factors.search(model.factors.users(histories).numpy(), self.number, self.probes))
        if model.plugins is not None and recalled is not None:
            found.append(model.plugins.scorers.memory.strongest(recalled, self.number))
        return np.concatenate(found, axis=1)
