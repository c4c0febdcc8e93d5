"""The interface of all aggregation rules, and `build_rule`, which chooses one by its configuration."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torchjd.aggregation import Aggregator

from pinet_kedro.aggregation import priors
from pinet_kedro.aggregation.agreement import AgrRand, AgrSum
from pinet_kedro.aggregation.columns import nobody
from pinet_kedro.aggregation.config import (
    AggregationConfig,
    AgrRandConfig,
    AgrSumConfig,
    BackdoorConfig,
    BalancedConfig,
    ConsensusConfig,
    DeconfoundedConfig,
    EffectiveNumberConfig,
    GroupDROConfig,
    ReptileConfig,
    TorchJDConfig,
)
from pinet_kedro.aggregation.consensus import Consensus
from pinet_kedro.aggregation.deconfounded import Deconfounded
from pinet_kedro.aggregation.group_dro import GroupDROWeighting
from pinet_kedro.aggregation.group_gradients import GroupGradients, Losses
from pinet_kedro.aggregation.library import WeightRecorder, build_aggregator, by_gramian, keeps_columns
from pinet_kedro.aggregation.reptile import visit_strata
from pinet_kedro.errors import InputError
from pinet_kedro.randomness import DrawsFrom, Generators


@dataclass(frozen=True)
class Step:
    """The G strata of a step: gradients, losses, shares of the step's interactions, and the rule's prior.

    Of several processes, each may have some columns of the matrix, and aggregates these. With `rows`, `matrix` has only
    these rows of the item tables; the gradients of all other rows are 0.
    """

    matrix: Float[Tensor, "G P"]
    losses: Float[Tensor, " G"]
    share: Float[Tensor, " G"]
    prior: Float[Tensor, " G"]
    rows: Int[Tensor, " R"] | None = None


@dataclass(frozen=True)
class Rule:
    """How the gradients of the strata become one gradient.

    `prior` gives the weights of the strata from their shares of the step's interactions. `aggregate` gives the
    gradient, and the weights of the strata in it if the rule has any. If it is None, the rule is a sum weighted by the
    prior and needs no matrix of gradients: `accumulate` takes the losses one by one, and adds gradients up over the
    processes of the training (`GroupGradients.met`).
    """

    prior: Callable[[Float[Tensor, " G"]], Float[Tensor, " G"]]
    aggregate: Callable[[Step], tuple[Float[Tensor, " P"], Float[Tensor, " G"] | None]] | None = None
    accumulate: Callable[[GroupGradients, Losses, list[float]], list[float]] = GroupGradients.accumulate


@dataclass(frozen=True)
class RuleInputs:
    """What a rule may depend on: users and training targets of every stratum, and the sizes of the parameter tensors.

    The last `embeddings` tensors are item tables with `rows` rows each; all others are the body. Where several
    processes share the columns, sizes are those of the share, and `add_up` replaces a tensor by its sum over them.
    """

    users: Float[Tensor, " G"]
    interactions: Float[Tensor, " G"]
    sizes: list[int]
    embeddings: int = 0
    rows: int = 1
    add_up: Callable[[Tensor], None] = nobody


def by_columns(config: AggregationConfig | None) -> bool:
    """Whether a rule can aggregate some columns alone, if the Gramians of all processes are added up.

    Those that draw numbers for columns cannot, nor aggregators whose weights, or sums, need the matrix itself.
    """
    if isinstance(config, TorchJDConfig):
        return by_gramian(config.name)
    return not isinstance(config, AgrRandConfig) and not (
        isinstance(config, ConsensusConfig) and config.opposed == "noise"
    )


def build_rule(config: AggregationConfig | None, inputs: RuleInputs, rng: Generators) -> Rule:
    """The rule of a configuration; None is joint training, with the shares of interactions as weights.

    Rules that need random numbers draw them from `rng`.
    """
    if config is None:
        return Rule(lambda share: share)
    if isinstance(config, BackdoorConfig | DeconfoundedConfig):
        user_share = inputs.users / inputs.users.sum()
        adjusted = partial(priors.backdoor, user_share=user_share, strength=config.strength)
        return Rule(adjusted, _deconfounded(config, inputs) if isinstance(config, DeconfoundedConfig) else None)
    if isinstance(config, ConsensusConfig):
        consensus = Consensus(config, inputs.sizes, _tensors(inputs)[1], rng.of_device, inputs.add_up)
        return Rule(priors.balanced, partial(_weighted, consensus))
    if isinstance(config, BalancedConfig):
        return Rule(priors.balanced)
    if isinstance(config, EffectiveNumberConfig):
        interactions, overlap = inputs.interactions, config.overlap
        return Rule(partial(priors.effective_number, interactions=interactions, overlap=overlap))
    if isinstance(config, GroupDROConfig):
        return Rule(priors.balanced, partial(_group_dro, GroupDROWeighting(config.step_size)))
    if isinstance(config, ReptileConfig):
        visit = partial(visit_strata, inner_rate=config.inner_rate, rng=rng["cpu"])
        return Rule(_prior_of_rows(config.rows), accumulate=visit)
    aggregator: Aggregator
    if isinstance(config, AgrSumConfig):
        aggregator = AgrSum()
    elif isinstance(config, AgrRandConfig):
        aggregator = AgrRand(rng.of_device)
    else:
        aggregator = build_aggregator(config.name, config.options, len(inputs.users), inputs.add_up)
    recorder = WeightRecorder(aggregator)
    whole = inputs if keeps_columns(aggregator) else None
    return Rule(_prior_of_rows(config.rows), partial(_of_rows, aggregator, recorder, rng, whole))


def _prior_of_rows(rows: str) -> Callable[[Tensor], Tensor]:
    return priors.balanced if rows == "mean" else lambda share: share


def _deconfounded(config: DeconfoundedConfig, inputs: RuleInputs) -> Callable[[Step], tuple[Tensor, Tensor]]:
    """`Deconfounded` on all parameters, or on the body alone; item embeddings then get the joint gradient."""
    body, tables = _tensors(inputs)
    if config.parameters == "body":
        return partial(_weighted, Deconfounded(config, body, add_up=inputs.add_up), columns=sum(body))
    return partial(_weighted, Deconfounded(config, inputs.sizes, tables, inputs.add_up))


def _tensors(inputs: RuleInputs) -> tuple[list[int], list[int]]:
    """The sizes of the body's tensors, and the widths of the item tables."""
    body = inputs.sizes[: len(inputs.sizes) - inputs.embeddings]
    return body, [size // inputs.rows for size in inputs.sizes[len(body) :]]


def _weighted(aggregator: Deconfounded, step: Step, columns: int | None = None) -> tuple[Tensor, Tensor]:
    """The aggregate of the first `columns`, all by default, with the joint gradient in the others."""
    aggregator.weighting.prior, aggregator.rows = step.prior, step.rows
    gradient = aggregator(step.matrix[:, :columns])
    if columns is not None:
        gradient = torch.cat([gradient, step.share @ step.matrix[:, columns:]])
    return gradient, aggregator.mean_weights()


def _group_dro(weighting: GroupDROWeighting, step: Step) -> tuple[Tensor, Tensor]:
    weights = weighting(step.losses)
    return weights @ step.matrix, weights


def _of_rows(
    aggregator: Aggregator, recorder: WeightRecorder, rng: Generators, whole: RuleInputs | None, step: Step
) -> tuple[Tensor, Tensor | None]:
    """The aggregate of the rows G·p_a·g_a, and the weights of the g_a in it, divided by their absolute sum.

    With `whole`, the aggregator gets all rows of the item tables in every step, zeros included.
    """
    scale = len(step.prior) * step.prior
    matrix, places = step.matrix * scale[:, None], None
    if whole is not None and step.rows is not None:
        places = _places(step.rows, whole)
        matrix = matrix.new_zeros(len(matrix), sum(whole.sizes)).index_copy_(1, places, matrix)
    try:
        with DrawsFrom(rng):
            gradient = aggregator(matrix)
    except ValueError as error:  # the length of an option is checked only here
        raise InputError(
            f"backbone_training.aggregation: {type(aggregator).__name__} does not take the gradients of "
            f"{len(matrix)} strata. {error} Change aggregation.options, or the strata (stratification)."
        ) from error
    if places is not None:
        gradient = gradient[places]
    if recorder.last is None:
        return gradient, None
    weights = recorder.last * scale
    return gradient, weights / weights.abs().sum().clamp(min=torch.finfo(weights.dtype).tiny)


def _places(rows: Int[Tensor, " R"], whole: RuleInputs) -> Int[Tensor, " p"]:
    """The columns, among those of the whole tensors, of a matrix that has only these rows of the item tables."""
    body, widths = _tensors(whole)
    begin, places = sum(body), [torch.arange(sum(body), device=rows.device)]
    for width in widths:
        places.append((begin + rows[:, None] * width + torch.arange(width, device=rows.device)).flatten())
        begin += whole.rows * width
    return torch.cat(places)
