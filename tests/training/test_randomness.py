"""A training uses its own generators, so other random draws of the process do not change its weights."""

import threading

import pytest
import torch

from pinet_kedro.aggregation.config import AgrRandConfig, ReptileConfig, TorchJDConfig
from pinet_kedro.aggregation.library import aggregators
from pinet_kedro.aggregation.rules import RuleInputs, Step, build_rule
from pinet_kedro.backbones.config import DINConfig, GRU4RecConfig, LRURecConfig, SASRecConfig
from pinet_kedro.losses.config import BCEConfig, FullSoftmaxConfig
from pinet_kedro.plugins.config import PluginTraining
from pinet_kedro.randomness import DrawsFrom, Generators
from pinet_kedro.studies.gradient_noise.measurement import measure_while_training
from pinet_kedro.studies.transfer.config import UserBranchConfig
from pinet_kedro.studies.transfer.user_branch import fit_user_branch
from pinet_kedro.training.backbone import train_backbone
from pinet_kedro.training.config import BackboneTraining, GradientNoise, TrainingSchedule
from pinet_kedro.training.warm_start import carry_over

SHAPE = {"width": 8, "max_length": 10, "dropout": 0.3}
SASREC = SASRecConfig(blocks=1, **SHAPE)
SCHEDULE = TrainingSchedule(epochs=1, batch_users=32, validate_every=1)


@pytest.fixture
def noisy_process():
    """Another thread that seeds torch's own generator and draws from it, all the time."""
    done = threading.Event()

    def draw():
        while not done.wait(1e-4):
            torch.manual_seed(7)
            torch.rand(100)

    thread = threading.Thread(target=draw)
    yield thread.start
    done.set()
    thread.join()


def weights(world, backbone, loss=None, aggregation=None):
    config = BackboneTraining(
        backbone=backbone, loss=loss or FullSoftmaxConfig(), schedule=SCHEDULE, aggregation=aggregation
    )
    model = train_backbone(world.dataset, config)
    return torch.cat([p.flatten() for p in model.parameters()])


TRAININGS = {
    "sasrec": (SASREC,),
    "gru4rec with dropout between layers": (GRU4RecConfig(hidden=8, layers=2, **SHAPE),),
    "din": (DINConfig(**SHAPE),),
    "lrurec": (LRURecConfig(hidden=8, **SHAPE),),
    "din with a binary loss": (DINConfig(**SHAPE), BCEConfig()),
    "random numbers where strata disagree": (SASREC, None, AgrRandConfig()),
    "strata in a random order": (SASREC, None, ReptileConfig()),
    "an aggregator of torchjd that draws": (SASREC, None, TorchJDConfig(name="PCGrad")),
}


@pytest.mark.parametrize("training", TRAININGS)
def test_weights_do_not_depend_on_draws_of_other_threads(planted_world, noisy_process, training):
    alone = weights(planted_world, *TRAININGS[training])
    noisy_process()
    beside = weights(planted_world, *TRAININGS[training])
    assert torch.equal(alone, beside)


@pytest.mark.parametrize("kind", ["logit_space", "state_space"])
def test_plugins_do_not_depend_on_draws_of_other_threads(planted_world, joint_backbone, noisy_process, kind):
    config = PluginTraining(kind=kind, memory_search=None)
    alone = planted_world.fit_plugins(joint_backbone, config)
    noisy_process()
    beside = planted_world.fit_plugins(joint_backbone, config)
    assert alone.choice == beside.choice
    assert torch.equal(alone.theta, beside.theta)


def test_warm_starts_and_branches_do_not_depend_on_draws_of_other_threads(planted_world, joint_backbone, noisy_process):
    w, ids = planted_world, [*planted_world.item_ids[5:], "new"]

    def draw():
        carried = carry_over(joint_backbone, planted_world.item_ids, ids, seed=3)
        branched = fit_user_branch(joint_backbone, w.dataset, UserBranchConfig(epochs=1), seed=4)
        return torch.cat([p.flatten() for model in (carried, branched.branch) for p in model.parameters()])

    alone = draw()
    noisy_process()
    assert torch.equal(alone, draw())


def test_gradient_noise_does_not_depend_on_draws_of_other_threads(planted_world, noisy_process):
    w, config = planted_world, BackboneTraining(backbone=SASREC, schedule=SCHEDULE)

    def measure():
        noise = GradientNoise(blocks=3, rounds=2)
        return measure_while_training(w.dataset, config, noise, lambda _: None)[0]

    alone = measure()
    noisy_process()
    assert alone.equals(measure())


OPTIONS = {"Constant": {"weights": [0.5, 1.0, 2.5]}, "CAGrad": {"c": 0.5}, "FairGrad": {"alpha": 1.0},
           "Krum": {"n_byzantine": 0}, "TrimmedMean": {"trim_number": 1}}  # fmt: skip


@pytest.mark.parametrize("name", sorted({*aggregators()} - {"NashMTL"}))  # its extra is not among the tests'
def test_no_aggregator_of_torchjd_uses_the_global_generator(name):
    options = OPTIONS.get(name, {})
    inputs = RuleInputs(users=torch.ones(3), interactions=torch.ones(3), sizes=[4])
    matrix = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    step = Step(matrix, losses=torch.ones(3), share=torch.full((3,), 1 / 3), prior=torch.full((3,), 1 / 3))

    def aggregate():
        rule = build_rule(TorchJDConfig(name=name, options=options), inputs, Generators(5))
        return torch.stack([rule.aggregate(step)[0] for _ in range(3)])

    before = torch.get_rng_state()
    drawn = aggregate()
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(drawn, aggregate())


def test_draws_in_the_block_equal_those_of_a_seeded_global_generator():
    def draw():
        layers = torch.nn.GRU(3, 4, 2), torch.nn.Linear(3, 2), torch.nn.Embedding(4, 3)
        numbers = (
            torch.rand(3),
            torch.randn(3),
            torch.randperm(5),
            torch.randint(9, (4,)),
            torch.rand_like(torch.ones(2)),
        )
        return [p.detach() for layer in layers for p in layer.parameters()] + list(numbers)

    torch.manual_seed(11)
    expected = draw()
    before = torch.get_rng_state()
    with DrawsFrom(Generators(11)):
        found = draw()
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
