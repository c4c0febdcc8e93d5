"""Aggregators by name: those of torchjd, and others with the same interface."""

import inspect
from collections.abc import Callable
from typing import Any, cast

import torch
import torchjd.aggregation
from jaxtyping import Float
from torch import Tensor
from torchjd import Stateful
from torchjd.aggregation import Aggregator, GramianWeightedAggregator, WeightedAggregator
from torchjd.linalg import Matrix, PSDMatrix

from pinet_kedro.aggregation.columns import nobody

# Aggregators that `rule: torchjd` finds by the name of their class, beside those of torchjd. A new one is a file and a
# line here.
OTHERS: dict[str, type[Aggregator]] = {}


def aggregators() -> dict[str, type[Aggregator]]:
    """Classes that aggregate a matrix, by name; without torchjd's abstract bases."""
    bases = (Aggregator, WeightedAggregator, GramianWeightedAggregator)
    found = [getattr(torchjd.aggregation, name) for name in torchjd.aggregation.__all__]
    return {c.__name__: c for c in found if issubclass(c, Aggregator) and c not in bases} | OTHERS


def by_gramian(name: str) -> bool:
    """Whether an aggregator sums the rows with weights from their Gramian, so that it can take some columns alone."""
    return issubclass(aggregators()[name], GramianWeightedAggregator)


def keeps_columns(aggregator: Aggregator) -> bool:
    """Whether an aggregator keeps numbers for every column, so that a column must mean the same in all steps.

    Those of torchjd that have a state keep it for every stratum, except ExcessMTL; of your own, the state is taken to
    be of columns unless it comes from the Gramian.
    """
    of_strata = isinstance(aggregator, GramianWeightedAggregator | torchjd.aggregation.NashMTL)
    return isinstance(aggregator, Stateful) and not of_strata


def build_aggregator(
    name: str, options: dict[str, Any], groups: int, add_up: Callable[[Tensor], None] = nobody
) -> Aggregator:
    """The aggregator of this name for `groups` strata; a list among its options becomes a tensor.

    Where several processes have some columns each, `add_up` replaces a tensor by its sum over them: the Gramian.

    Raises `ValueError` for a name, an option or a value that torchjd does not know, or if an extra is not installed.
    """
    known_classes = aggregators()
    if name not in known_classes:
        raise ValueError(f"torchjd has no aggregator '{name}'; there are {', '.join(known_classes)}")
    known = inspect.signature(known_classes[name]).parameters
    unknown = [key for key in options if key not in known]
    if unknown:
        raise ValueError(f"{name} of torchjd has no option '{unknown[0]}'; there are {', '.join(known) or 'none'}")
    given = {**({"n_tasks": groups} if "n_tasks" in known else {}), **options}
    missing = [key for key, p in known.items() if p.default is p.empty and key not in given]
    if missing:
        raise ValueError(f"{name} of torchjd needs the option '{missing[0]}': aggregation.options: {{{missing[0]}: …}}")
    try:
        arguments = {key: torch.tensor(value) if isinstance(value, list) else value for key, value in given.items()}
        aggregator = known_classes[name](**arguments)
    except ImportError as error:
        raise ValueError(f"{error}, or all of them with: pip install 'pinet-kedro[rules]'") from error
    # The errors that torchjd's checks raise.
    except (TypeError, ValueError, RuntimeError, AttributeError, IndexError) as error:
        raise ValueError(f"{name} of torchjd does not take the options {options}: {error}") from error
    if isinstance(aggregator, GramianWeightedAggregator):

        def gramian(matrix: Matrix) -> PSDMatrix:
            add_up(products := matrix @ matrix.T)
            return cast(PSDMatrix, products)

        aggregator.weighting = aggregator.gramian_weighting << gramian
    return aggregator


class WeightRecorder:
    """Keeps the weights that an aggregator last gave to the rows in `last`; None if it has no weights."""

    def __init__(self, aggregator: Aggregator) -> None:
        self.last: Float[Tensor, " G"] | None = None
        if isinstance(aggregator, WeightedAggregator):
            aggregator.weighting.register_forward_hook(self._record)

    def _record(self, module: torch.nn.Module, arguments: Any, weights: Float[Tensor, " G"]) -> None:  # noqa: ARG002
        self.last = weights.detach()
