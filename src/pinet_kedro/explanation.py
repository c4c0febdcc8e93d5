"""Why a recommender offers an item: the exact summands of its score, and the item of the history behind the memory.

A score has no zero point of its own: adding a constant to all items changes no rank. So a summand says something only
in comparison with that of other items; `above_average` compares it with the mean over the catalogue.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from pinet_kedro.recommender import Recommender


@dataclass(frozen=True)
class ExplainedItem:
    """A recommended item, and its score as a sum of `contributions` by scorer.

    `because`: the item of the history that adds most to the memory's score of this item, with its share of that score;
    None where the memory has no part in the score.
    """

    item: str
    score: float
    contributions: dict[str, float]
    because: tuple[str, float] | None = None


@dataclass(frozen=True)
class Explanation:
    """The best items for one history, the best first; `average` has the mean contributions over the catalogue.

    `stratum` is 'head' or 'tail'; `note` says what cannot be attributed, if anything; `unknown_items` and `fallback`
    are those of `Recommended`.
    """

    items: tuple[ExplainedItem, ...]
    average: dict[str, float]
    stratum: str
    note: str | None = None
    unknown_items: int = 0
    fallback: bool = False

    def above_average(self, explained: ExplainedItem) -> dict[str, float]:
        """Contributions to the item minus those to the average item, the largest first."""
        above = {name: value - self.average[name] for name, value in explained.contributions.items()}
        return dict(sorted(above.items(), key=lambda entry: -entry[1]))


def explain(
    model: Recommender,
    history: list[str],
    k: int = 10,
    exclude_seen: bool | None = None,
    exclude: list[str] | None = None,
    only: list[str] | None = None,
) -> Explanation:
    """What `Recommender.recommend` answers for one history of raw ids, with the contributions to each score.

    They are those of the frozen scorers and the backbone, weighed by the plugin of the user's stratum, and sum to the
    score, to the precision of float32. A model without plugins has the backbone's alone, and an empty history gets
    popularity and recency. With plugins in the state space, the score is that of the backbone plus what the change of
    the user's state adds: no part of it belongs to a scorer, or to an item of the history.
    """
    asked = model.encode([history], exclude_seen, [exclude or []], [only])
    padded, lengths = asked.padded, asked.lengths
    best, columns = model.best(padded, lengths, k, asked.hidden, asked.only)
    left = torch.isfinite(best[0])
    scores, columns = best[0][left].tolist(), columns[0][left]
    summands = _summands(model, padded, lengths)
    chosen = {name: values[columns].tolist() for name, values in summands.items()}
    because = _because(model, padded[0].numpy(), columns.numpy() + 1, chosen.get("memory"))
    items = tuple(
        ExplainedItem(
            item=str(model.item_ids[column]),
            score=scores[rank],
            contributions={name: values[rank] for name, values in chosen.items()},
            because=because[rank],
        )
        for rank, column in enumerate(columns.tolist())
    )
    stratum = "head" if model.strata.head_tail.assign(lengths)[0] == 1 else "tail"
    average = {name: float(values.double().mean()) for name, values in summands.items()}
    return Explanation(items, average, stratum, _note(model, lengths), asked.unknown[0], bool(lengths[0] == 0))


@torch.no_grad()
def _summands(
    model: Recommender, padded: Int[Tensor, "1 L"], lengths: Int[np.ndarray, " 1"]
) -> dict[str, Float[Tensor, " I"]]:
    """What `Recommender.scores` adds up for one history, by name."""
    if lengths[0] == 0:
        fallback = {"popularity": model.popularity.log_popularity, "recency": model.popularity.log_recency}
        return {name: torch.from_numpy(values) for name, values in fallback.items()}
    evidence = model.evidence(padded)
    if model.plugins is None:
        return {"backbone": evidence.scores[0]}
    found = model.plugins.summands(evidence, model.strata.training.assign(lengths))
    if not model.plugins.config.backbone:
        del found["backbone"]
    return {name: values[0] for name, values in found.items()}


def _because(
    model: Recommender, history: Int[np.ndarray, " L"], items: Int[np.ndarray, " K"], memory: list[float] | None
) -> list[tuple[str, float] | None]:
    """For each item the one of the history with the largest share of the memory's score, and that share."""
    if model.plugins is None or memory is None:
        return [None] * len(items)
    sources, parts = model.plugins.scorers.memory.summands(history, items)
    found: list[tuple[str, float] | None] = []
    for row, contribution in zip(parts, memory, strict=True):
        if contribution == 0:  # the plugin ignores the memory, or it knows no transition to this item
            found.append(None)
        else:
            most = int(row.argmax())
            found.append((str(model.item_ids[sources[most] - 1]), float(row[most] / row.sum())))
    return found


def _note(model: Recommender, lengths: Int[np.ndarray, " 1"]) -> str | None:
    if lengths[0] == 0:
        return "The model knows no item of this history: these are popular and recent items"
    if model.plugins is not None and model.plugins.config.kind == "state_space":
        return (
            "The plugin changes the state of the user as a whole (plugin_training.kind: state_space): its part of a "
            "score cannot be divided among scorers or items of the history"
        )
    return None
