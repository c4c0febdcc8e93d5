"""Why a recommender offers an item: the exact summands of its score, and the item of the history behind the memory.

A score has no zero point of its own: adding a constant to all items changes no rank. So a summand says something only
in comparison with that of other items; `above_average` compares it with the mean over the catalogue.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from pinet_kedro.asking import Constraints
from pinet_kedro.evidence import block_users
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

    `stratum` is 'head' or 'tail'; `note` says what cannot be attributed, if anything; `unknown_items`,
    `fallback` and `distinct_categories` are those of `Recommended`.
    """

    items: tuple[ExplainedItem, ...]
    average: dict[str, float]
    stratum: str
    note: str | None = None
    unknown_items: int = 0
    fallback: bool = False
    distinct_categories: int | None = None

    def above_average(self, explained: ExplainedItem) -> dict[str, float]:
        """Contributions to the item minus those to the average item, the largest first."""
        above = {name: value - self.average[name] for name, value in explained.contributions.items()}
        return dict(sorted(above.items(), key=lambda entry: -entry[1]))


class Reasons(NamedTuple):
    """Why each of K items is offered to each of B users.

    `contributions` to the scores by scorer, and their `average` over the catalogue, are NaN where a user's scores have
    no such part. `because` is the item of the history that adds most to the memory's score, with its `share` of that;
    0 where the memory has no part in the score.
    """

    contributions: dict[str, Float[np.ndarray, "B K"]]
    average: dict[str, Float[np.ndarray, " B"]]
    because: Int[np.ndarray, "B K"]
    share: Float[np.ndarray, "B K"]


def explain(
    model: Recommender,
    history: list[str],
    k: int = 10,
    exclude_seen: bool | None = None,
    constraints: Constraints | None = None,
) -> Explanation:
    """What `Recommender.recommend` answers for one history of raw ids, with the contributions to each score.

    They are those of the frozen scorers and the backbone, weighed by the plugin of the user's stratum, and sum to the
    score, to the precision of float32. A model without plugins has the backbone's alone, and an empty history gets
    popularity and recency. With plugins in the state space, the score is that of the backbone plus what the change of
    the user's state adds: no part of it belongs to a scorer, or to an item of the history.
    """
    asked = model.encode([history], [k], exclude_seen, [constraints or Constraints()])
    best, columns = model.best(asked.padded, asked.lengths, k, asked.hidden, asked.only, asked.spread)
    left = torch.isfinite(best[0])
    columns = columns[:, left]
    why = explain_items(model, asked.padded, asked.lengths, columns.numpy())
    contributions = {name: values[0].tolist() for name, values in why.contributions.items() if _applies(why, name)}
    items = tuple(
        ExplainedItem(
            item=str(model.item_ids[column]),
            score=score,
            contributions={name: values[rank] for name, values in contributions.items()},
            because=(str(model.item_ids[source - 1]), share) if source else None,
        )
        for rank, (column, score, source, share) in enumerate(
            zip(
                columns[0].tolist(), best[0][left].tolist(), why.because[0].tolist(), why.share[0].tolist(), strict=True
            )
        )
    )
    return Explanation(
        items=items,
        average={name: float(why.average[name][0]) for name in contributions},
        stratum="head" if model.strata.head_tail.assign(asked.lengths)[0] == 1 else "tail",
        note=note(model, int(asked.lengths[0])),
        unknown_items=asked.unknown[0],
        fallback=bool(asked.lengths[0] == 0),
        distinct_categories=model.categories.distinct(columns[0].numpy())
        if model.categories and asked.spread
        else None,
    )


def contribution_names(model: Recommender) -> tuple[str, ...]:
    """Names of all parts that a score of the model may have; no score has all of them if histories may be empty."""
    names = model.plugins.summand_names if model.plugins else ("backbone",)
    without = model.plugins is not None and not model.plugins.config.backbone
    return tuple(dict.fromkeys((*names[without:], "popularity", "recency")))


@torch.no_grad()
def explain_items(
    model: Recommender, padded: Int[Tensor, "B L"], lengths: Int[np.ndarray, " B"], columns: Int[np.ndarray, "B K"]
) -> Reasons:
    """The parts of the scores of these columns (0..I-1) after encoded histories; `block_users` users at a time."""
    names, shape = contribution_names(model), columns.shape
    found = Reasons(
        contributions={name: np.full(shape, np.nan, np.float32) for name in names},
        average={name: np.full(shape[0], np.nan) for name in names},
        because=np.zeros(shape, np.int64),
        share=np.zeros(shape),
    )
    block = block_users(model.n_items)
    empty, known = np.flatnonzero(lengths == 0), np.flatnonzero(lengths > 0)
    for rows in [empty, *(known[start : start + block] for start in range(0, len(known), block))]:
        if len(rows) == 0:
            continue
        chosen = torch.from_numpy(columns[rows])
        for name, values in _summands(model, padded[rows], lengths[rows]).items():
            found.contributions[name][rows] = values.expand(len(rows), -1).gather(1, chosen).numpy()
            found.average[name][rows] = values.double().mean(-1).numpy()
    if model.plugins is not None and "memory" in names:
        source, share = model.plugins.scorers.memory.strongest_source(padded.numpy(), columns + 1)
        # 0 where the plugin of the stratum ignores the memory, or it knows no transition to the item.
        used = (source > 0) & (np.nan_to_num(found.contributions["memory"]) != 0)
        found.because[used], found.share[used] = source[used], share[used]
    return found


def _applies(why: Reasons, name: str) -> bool:
    """Whether the scores of the only user have this part."""
    return not np.isnan(why.average[name][0])


def _summands(
    model: Recommender, padded: Int[Tensor, "B L"], lengths: Int[np.ndarray, " B"]
) -> dict[str, Float[Tensor, "*B I"]]:
    """What `Recommender.scores` adds up for histories that are all empty or all not, by name."""
    if lengths[0] == 0:
        fallback = {"popularity": model.popularity.log_popularity, "recency": model.popularity.log_recency}
        return {name: torch.from_numpy(values) for name, values in fallback.items()}
    evidence = model.evidence(padded)
    if model.plugins is None:
        return {"backbone": evidence.scores}
    found = model.plugins.summands(evidence, model.strata.training.assign(lengths))
    if not model.plugins.config.backbone:
        del found["backbone"]
    return found


def note(model: Recommender, length: int) -> str | None:
    """What cannot be attributed in the scores after a history with this number of known items, if anything."""
    if length == 0:
        return "The model knows no item of this history: these are popular and recent items"
    if model.plugins is not None and model.plugins.config.kind == "state_space":
        return (
            "The plugin changes the state of the user as a whole (plugin_training.kind: state_space): its part of a "
            "score cannot be divided among scorers or items of the history"
        )
    return None
