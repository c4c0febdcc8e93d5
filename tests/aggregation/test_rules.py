"""Every aggregation rule: properties on the usual matrices, values by hand, equivalences, errors, a short training."""

import math
import warnings
from itertools import pairwise

import pytest
import torch
import torchjd.aggregation
from matrices import MATRICES, random
from pydantic import TypeAdapter, ValidationError
from torchjd.aggregation import Constant, GradVac, Mean, PCGrad, Sum

from pinet_kedro.aggregation import priors
from pinet_kedro.aggregation.agreement import AgrRand, AgrSum
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
from pinet_kedro.aggregation.group_dro import GroupDROWeighting
from pinet_kedro.aggregation.library import aggregators
from pinet_kedro.aggregation.priors import backdoor
from pinet_kedro.aggregation.rules import RuleInputs, Step, build_rule
from pinet_kedro.errors import InputError
from pinet_kedro.losses.config import BCEConfig, FullSoftmaxConfig, GBCEConfig, SampledSoftmaxConfig
from pinet_kedro.randomness import Generators
from pinet_kedro.training.backbone import train_backbone

EXACT = {"rtol": 1e-9, "atol": 1e-11}
RULE = TypeAdapter(AggregationConfig)


def library(name, **options):
    """The configuration of a torchjd aggregator; the test is skipped where its extra is not installed."""
    try:
        return TorchJDConfig(name=name, options=options)
    except ValidationError as error:
        if "to be installed" not in str(error):
            raise
        return pytest.param(None, marks=pytest.mark.skip(reason=f"{name} needs an extra of torchjd"))


# Weights that are a distribution; those that depend on nothing but the matrix, the prior and the losses.
DISTRIBUTIONS = {
    "joint": None,
    "deconfounded": DeconfoundedConfig(),
    "consensus": ConsensusConfig(),
    "deconfounded, global": DeconfoundedConfig(scope="global", strength=1),
    "deconfounded, body": DeconfoundedConfig(parameters="body", gate=False),
    "backdoor": BackdoorConfig(strength=0.5),
    "balanced": BalancedConfig(),
    "effective_number": EffectiveNumberConfig(overlap=0.99),
    "group_dro": GroupDROConfig(),
    "reptile": ReptileConfig(),
    "reptile of share-weighted rows": ReptileConfig(rows="share"),
    "Mean": library("Mean"),
}
# Any weights, or none.
OTHERS = {
    "agr_sum": AgrSumConfig(),
    "agr_rand": AgrRandConfig(rows="share"),
    "MGDA": library("MGDA"),
    "PCGrad": library("PCGrad"),
    "PCGrad of share-weighted rows": TorchJDConfig(name="PCGrad", rows="share"),
    "GradVac": library("GradVac"),
    "UPGrad": library("UPGrad"),
    "DualProj": library("DualProj"),
    "CAGrad": library("CAGrad", c=0.5),
    "NashMTL": library("NashMTL"),
    "IMTLG": library("IMTLG"),
    "AlignedMTL": library("AlignedMTL"),
    "ConFIG": library("ConFIG"),
    "GradDrop": library("GradDrop"),
    "Random": library("Random"),
    "Sum": library("Sum"),
}
RULES = {**DISTRIBUTIONS, **OTHERS}
# What draws random numbers, visits rows in random order, or stops short of its optimum cannot follow an order exactly.
ORDERED = {name: RULES[name] for name in (*DISTRIBUTIONS, "agr_sum", "Sum", "ConFIG")}

on_all_matrices = pytest.mark.parametrize("matrix", MATRICES.values(), ids=MATRICES.keys())


def of(rules):
    return pytest.mark.parametrize("config", rules.values(), ids=rules.keys())


def inputs_of(matrix):
    groups, columns = matrix.shape
    return RuleInputs(
        users=torch.linspace(9, 3, groups, dtype=torch.float64),
        interactions=torch.linspace(20, 700, groups, dtype=torch.float64),
        sizes=[2, columns - 2],
        embeddings=1,
    )


def aggregated(config, matrix, order=None):
    """The rule's gradient and weights on a matrix of strata of known sizes and losses, in another order if given."""
    order = torch.arange(len(matrix)) if order is None else order
    inputs = inputs_of(matrix)
    losses = torch.linspace(3, 5, len(matrix), dtype=torch.float64)[order]
    share = (inputs.interactions / inputs.interactions.sum())[order]
    inputs = RuleInputs(inputs.users[order], inputs.interactions[order], inputs.sizes, inputs.embeddings)
    rule = build_rule(config, inputs, Generators(3))
    prior = rule.prior(share)
    if rule.aggregate is None:
        return prior @ matrix[order], prior
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a solver's remarks on how it could be faster
        return rule.aggregate(Step(matrix[order], losses, share, prior))


@on_all_matrices
@of(RULES)
def test_every_rule_gives_a_finite_gradient(matrix, config):
    if getattr(config, "name", "") == "NashMTL" and (len(matrix) == 1 or not matrix.any()):
        pytest.skip("torchjd's NashMTL raises here")
    gradient, _ = aggregated(config, matrix)
    assert gradient.shape == matrix.shape[1:]
    assert torch.isfinite(gradient).all()


@on_all_matrices
@of(DISTRIBUTIONS)
def test_weights_are_a_distribution(matrix, config):
    _, weights = aggregated(config, matrix)
    assert weights.shape == matrix.shape[:1]
    assert (weights >= 0).all()
    assert float(weights.sum()) == pytest.approx(1)


@on_all_matrices
@of(ORDERED)
def test_order_of_the_strata_changes_nothing(matrix, config):
    if isinstance(config, TorchJDConfig) and config.name == "ConFIG" and len(matrix) != 5:
        pytest.skip("ConFIG's pseudo-inverse is unique for independent rows only")
    order = torch.randperm(len(matrix), generator=torch.Generator().manual_seed(9))
    straight, weights = aggregated(config, matrix)
    gradient, permuted = aggregated(config, matrix, order)
    torch.testing.assert_close(gradient, straight, rtol=1e-6, atol=1e-9 * float(matrix.abs().max()))
    if weights is not None:
        torch.testing.assert_close(permuted, weights[order], rtol=1e-6, atol=1e-9)


@on_all_matrices
@of({name: RULES[name] for name in (*DISTRIBUTIONS, "agr_sum", "agr_rand", "PCGrad", "Sum")})
def test_scaling_the_gradients_scales_the_result(matrix, config):
    results = [aggregated(config, scale * matrix)[0] / scale for scale in (1, 1e-3, 1e3)]
    for result in results[1:]:
        torch.testing.assert_close(result, results[0], rtol=1e-6, atol=1e-9 * float(matrix.abs().max()))


class TestPriors:
    interactions = torch.tensor([0.1, 0.2, 0.7])
    users = torch.tensor([0.5, 0.3, 0.2])

    def test_no_strength_is_the_share_of_interactions(self):
        torch.testing.assert_close(backdoor(self.interactions, self.users, 0), self.interactions)

    def test_full_strength_is_the_share_of_users(self):
        torch.testing.assert_close(backdoor(self.interactions, self.users, 1), self.users)

    def test_half_strength_is_the_geometric_mean(self):
        root = (self.interactions * self.users).sqrt()
        torch.testing.assert_close(backdoor(self.interactions, self.users, 0.5), root / root.sum())

    def test_more_strength_gives_more_weight_to_strata_with_many_users(self):
        tail = [float(backdoor(self.interactions, self.users, s)[0]) for s in (0, 0.25, 0.5, 0.75, 1)]
        assert tail == sorted(tail)
        assert tail[0] < tail[-1]

    def test_balanced_strata_have_equal_weights(self):
        torch.testing.assert_close(priors.balanced(self.interactions), torch.full((3,), 1 / 3))

    def test_effective_number_runs_from_joint_training_to_balance(self):
        targets = torch.tensor([100.0, 200.0, 700.0])
        weights = [priors.effective_number(self.interactions, targets, overlap) for overlap in (0, 0.99, 1 - 1e-12)]
        torch.testing.assert_close(weights[0], self.interactions)
        torch.testing.assert_close(weights[2], torch.full((3,), 1 / 3))
        assert 0.1 < float(weights[1][0]) < 1 / 3

    def test_effective_number_equals_the_papers_formula(self):
        targets = torch.tensor([2.0, 5.0], dtype=torch.float64)
        share = torch.tensor([0.3, 0.7], dtype=torch.float64)
        raw = [0.3 * (1 - 0.9) / (1 - 0.9**2), 0.7 * (1 - 0.9) / (1 - 0.9**5)]
        expected = torch.tensor(raw, dtype=torch.float64) / sum(raw)
        torch.testing.assert_close(priors.effective_number(share, targets, 0.9), expected)


class TestAgreement:
    matrix = torch.tensor([[1.0, -2.0, 3.0, 0.0, 0.0], [4.0, -1.0, -5.0, 2.0, 0.0]])

    def test_agr_sum_keeps_coordinates_on_which_all_agree(self):
        assert AgrSum()(self.matrix).tolist() == [5, -3, 0, 0, 0]

    def test_agr_rand_draws_other_coordinates_at_the_scale_of_the_agreed_ones(self):
        torch.manual_seed(0)
        drawn = torch.stack([AgrRand()(self.matrix) for _ in range(4000)])
        assert (drawn[:, :2] == torch.tensor([5.0, -3.0])).all()
        assert drawn[:, 2:].std(0).tolist() == pytest.approx([4, 4, 4], rel=0.05)
        assert drawn[:, 2:].mean(0).tolist() == pytest.approx([0, 0, 0], abs=0.3)

    def test_agr_rand_is_seeded_by_torch(self):
        results = []
        for seed in (1, 1, 2):
            torch.manual_seed(seed)
            results.append(AgrRand()(self.matrix))
        assert torch.equal(results[0], results[1])
        assert not torch.equal(results[0], results[2])

    def test_without_agreement_there_is_no_step(self):
        opposed = torch.tensor([[1.0, -1.0], [-2.0, 3.0]])
        assert AgrSum()(opposed).tolist() == AgrRand()(opposed).tolist() == [0, 0]

    @on_all_matrices
    def test_one_sided_matrix_is_summed(self, matrix):
        positive = matrix.abs() + 1
        torch.testing.assert_close(AgrSum()(positive), Sum()(positive), **EXACT)
        torch.testing.assert_close(AgrRand()(positive), Sum()(positive), **EXACT)

    @pytest.mark.parametrize("config", [AgrSumConfig(), AgrRandConfig()])
    def test_coordinate_rules_have_no_weights_of_strata(self, config):
        assert aggregated(config, random(3, 0))[1] is None


class TestGroupDRO:
    def test_weights_accumulate_the_losses(self):
        weighting = GroupDROWeighting(step_size=0.5)
        first = weighting(torch.tensor([1.0, 3.0]))
        torch.testing.assert_close(first, torch.tensor([1.0, math.e]) / (1 + math.e))
        second = weighting(torch.tensor([1.0, 3.0]))
        torch.testing.assert_close(second, torch.tensor([1.0, math.e**2]) / (1 + math.e**2))
        back = weighting(torch.tensor([9.0, 5.0]))
        torch.testing.assert_close(back, torch.tensor([0.5, 0.5]))

    def test_equal_losses_give_equal_weights_after_a_reset(self):
        weighting = GroupDROWeighting()
        weighting(torch.tensor([1.0, 900.0]))
        weighting.reset()
        assert weighting(torch.tensor([7.0, 7.0])).tolist() == [0.5, 0.5]

    def test_huge_losses_do_not_overflow(self):
        weights = GroupDROWeighting(step_size=1.0)(torch.tensor([1e4, 2e4]))
        assert weights.tolist() == [0, 1]

    def test_gradient_is_the_weighted_sum_of_rows(self):
        matrix = random(5, 1)
        gradient, weights = aggregated(GroupDROConfig(step_size=1.0), matrix)
        assert weights.tolist() == sorted(weights.tolist())  # as the losses of `aggregated`
        torch.testing.assert_close(gradient, weights @ matrix, **EXACT)


class TestLibrary:
    @on_all_matrices
    @pytest.mark.parametrize("theirs", [PCGrad, GradVac, Mean, Sum])
    def test_a_rule_by_name_is_torchjds_aggregator(self, matrix, theirs):
        torch.manual_seed(3)
        expected = theirs()(matrix)
        ours, _ = aggregated(TorchJDConfig(name=theirs.__name__), matrix)
        torch.testing.assert_close(ours, expected, rtol=1e-9, atol=1e-9 * float(matrix.abs().max()))

    def test_backdoor_equals_torchjds_constant_weights(self):
        matrix = random(5, 1)
        gradient, weights = aggregated(BackdoorConfig(strength=0.3), matrix)
        torch.testing.assert_close(gradient, Constant(weights)(matrix), **EXACT)

    def test_lists_are_tensors_and_options_reach_the_aggregator(self):
        matrix = random(3, 1).float()
        inputs = RuleInputs(torch.ones(3), torch.ones(3), [12])
        rule = build_rule(TorchJDConfig(name="Constant", options={"weights": [0.5, 1.0, 2.5]}), inputs, Generators(3))
        share = torch.tensor([0.2, 0.3, 0.5])
        gradient, weights = rule.aggregate(Step(matrix, torch.ones(3), share, rule.prior(share)))
        torch.testing.assert_close(gradient, torch.tensor([0.5, 1.0, 2.5]) @ matrix)
        torch.testing.assert_close(weights, torch.tensor([0.125, 0.25, 0.625]))

    def test_share_rows_weigh_as_joint_training_without_conflict(self):
        matrix = torch.eye(4, 6, dtype=torch.float64)
        _, joint = aggregated(None, matrix)
        gradient, weights = aggregated(TorchJDConfig(name="PCGrad", rows="share"), matrix)
        torch.testing.assert_close(weights, joint, **EXACT)
        torch.testing.assert_close(gradient, 4 * joint @ matrix, **EXACT)

    def test_an_option_with_a_number_for_each_of_other_strata_is_refused_in_words(self):
        config = TorchJDConfig(name="Constant", options={"weights": [1.0, 2.0]})
        with pytest.raises(InputError, match=r"Constant does not take the gradients of 5 strata.* have 2 rows"):
            aggregated(config, random(5, 1))

    def test_what_an_aggregator_keeps_for_each_column_stays_with_its_item(self):
        """Steps with some rows of the item tables are the same steps with all rows, the others being 0."""
        count, width, body = 9, 2, 3
        inputs = RuleInputs(torch.ones(3), torch.ones(3), [body, count, count * width], embeddings=2, rows=count)
        share, losses = torch.full((3,), 1 / 3), torch.ones(3)
        some, every = (build_rule(TorchJDConfig(name="ExcessMTL"), inputs, Generators(1)) for _ in range(2))
        rng = torch.Generator().manual_seed(3)
        for number in (4, 5, 5, 4):
            rows = torch.randperm(count, generator=rng)[:number].sort().values
            parts = [
                torch.randn(3, body, generator=rng),
                *(torch.randn(3, number, w, generator=rng) for w in (1, width)),
            ]
            tables = [part.new_zeros(3, count, part.shape[2]).index_copy_(1, rows, part) for part in parts[1:]]
            narrow, whole = (torch.cat([t.flatten(1) for t in of], 1) for of in (parts, [parts[0], *tables]))
            gradient, weights = some.aggregate(Step(narrow, losses, share, share, rows))
            expected, theirs = every.aggregate(Step(whole, losses, share, share))
            torch.testing.assert_close(weights, theirs)
            torch.testing.assert_close(gradient[:body], expected[:body])
            ends = body, body + number, body + number * (1 + width)
            for table, (begin, end) in zip(expected[body:].split([count, count * width]), pairwise(ends), strict=True):
                torch.testing.assert_close(gradient[begin:end], table.view(count, -1)[rows].flatten())

    def test_number_of_strata_is_passed_where_it_is_needed(self):
        pytest.importorskip("cvxpy")
        pytest.importorskip("ecos")
        gradient, weights = aggregated(TorchJDConfig(name="NashMTL"), random(5, 1))
        assert torch.isfinite(gradient).all()
        assert len(weights) == 5


ERRORS = [
    ({"rule": "pcgrad"}, ["'pcgrad'", "'deconfounded'", "'torchjd'"]),
    ({"rule": "torchjd"}, ["name"]),
    ({"rule": "torchjd", "name": "PcGrad"}, ["no aggregator 'PcGrad'", "PCGrad", "UPGrad", "NashMTL"]),
    ({"rule": "torchjd", "name": "Aggregator"}, ["no aggregator 'Aggregator'"]),
    ({"rule": "torchjd", "name": "MGDA", "options": {"epsilom": 1}}, ["no option 'epsilom'", "epsilon, max_iters"]),
    ({"rule": "torchjd", "name": "PCGrad", "options": {"c": 1}}, ["no option 'c'", "there are none"]),
    ({"rule": "torchjd", "name": "TrimmedMean"}, ["needs the option 'trim_number'"]),
    ({"rule": "torchjd", "name": "TrimmedMean", "options": {"trim_number": -1}}, ["trim_number", "-1"]),
    ({"rule": "torchjd", "name": "PCGrad", "options": [1]}, ["options"]),
    ({"rule": "backdoor", "decay": 0.9}, ["'decay' is no setting here", "rule, strength"]),
    ({"rule": "reptile", "inner_rate": 0}, ["inner_rate", "greater than 0"]),
    ({"rule": "group_dro", "step_size": 0}, ["step_size", "greater than 0"]),
    ({"rule": "effective_number", "overlap": 1}, ["overlap", "less than 1"]),
    ({"strength": 0.5, "step_size": 1}, ["backdoor", "'step_size' is no setting here"]),
]


def test_parameters_without_a_rule_belong_to_backdoor_adjustment():
    assert RULE.validate_python({"strength": 0.5}) == BackdoorConfig(strength=0.5)


@pytest.mark.parametrize(("given", "words"), ERRORS, ids=[str(given) for given, _ in ERRORS])
def test_wrong_configuration_is_refused_in_words(given, words):
    with pytest.raises(ValidationError) as caught:
        RULE.validate_python(given)
    for word in words:
        assert word in str(caught.value)


def test_a_missing_extra_is_reported_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setattr("torchjd._mixins.find_spec", lambda name: None)
    with pytest.raises(ValidationError, match=r"clarabel.*pip install 'pinet-kedro\[rules\]'"):
        TorchJDConfig(name="CAGrad", options={"c": 0.5})


def test_names_are_all_aggregators_without_abstract_bases():
    assert {"PCGrad", "CAGrad", "UPGrad", "MGDA", "GradVac", "NashMTL", "Mean"} <= set(aggregators())
    assert not {"Aggregator", "WeightedAggregator", "GramianWeightedAggregator", "PCGradWeighting"} & set(aggregators())
    assert set(aggregators()) <= set(torchjd.aggregation.__all__)


def short_run(world, small_training, aggregation, loss=None):
    schedule = small_training.schedule.model_copy(update={"epochs": 2, "batch_users": 60})
    changes = {"schedule": schedule, "aggregation": aggregation, **({"loss": loss} if loss else {})}
    reports = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = train_backbone(world.dataset, small_training.model_copy(update=changes), reports.append)
    assert all(torch.isfinite(p).all() for p in model.parameters())
    assert reports[1].loss < reports[0].loss
    return reports


@pytest.mark.slow  # trains with each rule
@of(RULES)
def test_every_rule_trains(planted_world, small_training, config):
    reports = short_run(planted_world, small_training, config)
    weights = reports[-1].stratum_weights
    names = [name for name in reports[-1].row() if name.startswith("weight_stratum_")]
    without = config is None or getattr(config, "name", "") in ("ConFIG", "GradDrop") or config.rule.startswith("agr")
    assert len(weights) == len(names) == (0 if without else 5)
    assert all(math.isfinite(w) for w in weights)


@pytest.mark.parametrize(
    "loss",
    [FullSoftmaxConfig(focal=2), SampledSoftmaxConfig(uniform_items=15, focal=0.5), BCEConfig(), GBCEConfig()],
    ids=["full, focal", "sampled, focal", "bce", "gbce"],
)
@of({"joint": None, "deconfounded": DeconfoundedConfig(), "backdoor": BackdoorConfig()})
def test_every_loss_trains(planted_world, small_training, config, loss):
    short_run(planted_world, small_training, config, loss)
