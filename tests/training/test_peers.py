"""Two processes that train one model agree with one process: all losses, rules, backbones and kinds of updates."""

import os
import warnings
from contextlib import ExitStack

import pytest
import torch
from pydantic import ValidationError

from pinet_kedro.aggregation.config import (
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
from pinet_kedro.backbones.config import DINConfig, GRU4RecConfig, LRURecConfig, SASRecConfig
from pinet_kedro.errors import EndedError, InputError
from pinet_kedro.losses.config import BCEConfig, FullSoftmaxConfig, GBCEConfig, SampledSoftmaxConfig
from pinet_kedro.losses.softmax import Candidates
from pinet_kedro.pipelines.backbone_training import hosts
from pinet_kedro.processes.beside import Several, beside
from pinet_kedro.randomness import Generators
from pinet_kedro.training.backbone import DivergedError, train_backbone
from pinet_kedro.training.config import BackboneTraining, TrainingSchedule
from pinet_kedro.training.peers import ALONE, Peers, joined

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("spawned_by_a_server")]  # starts processes

SMALL = {"width": 8, "max_length": 10, "dropout": 0.0}
PLAIN = BackboneTraining(
    backbone=SASRecConfig(**SMALL, blocks=1),
    schedule=TrainingSchedule(epochs=1, batch_users=50, learning_rate=1e-3, weight_average=0.5),
)
LOSSES = {
    "full": FullSoftmaxConfig(),
    "full, focal": FullSoftmaxConfig(focal=2.0),
    "sampled": SampledSoftmaxConfig(uniform_items=15),
    "sampled, focal": SampledSoftmaxConfig(uniform_items=15, focal=0.5),
    "bce": BCEConfig(),
    "gbce": GBCEConfig(negatives=5),
}
RULES = {
    "joint": None,
    "deconfounded": DeconfoundedConfig(),
    "deconfounded, global": DeconfoundedConfig(scope="global", strength=1.0),
    "deconfounded, body": DeconfoundedConfig(parameters="body", gate=False),
    "consensus": ConsensusConfig(),
    "consensus, noise": ConsensusConfig(opposed="noise"),
    "backdoor": BackdoorConfig(),
    "balanced": BalancedConfig(),
    "effective_number": EffectiveNumberConfig(),
    "group_dro": GroupDROConfig(),
    "agr_sum": AgrSumConfig(),
    "agr_rand": AgrRandConfig(),
    "reptile": ReptileConfig(),
    **{name: TorchJDConfig(name=name) for name in ("PCGrad", "MGDA", "GradVac", "UPGrad", "GradDrop", "Random")},
}
BACKBONES = {
    "gru4rec": GRU4RecConfig(**SMALL, hidden=8, layers=2),
    "din": DINConfig(**SMALL),
    "lrurec": LRURecConfig(**SMALL, hidden=8),
    "sasrec, absolute": SASRecConfig(**SMALL, positions="absolute", item_norm="unit"),
}


def having(**changes):
    return PLAIN.model_copy(update=changes)


def updating(kind):
    return PLAIN.schedule.model_copy(update={"item_updates": kind})


CASES = {
    **{f"{name}, joint": having(loss=loss, aggregation=None) for name, loss in LOSSES.items()},
    **{f"{name}, strata": having(loss=loss) for name, loss in LOSSES.items()},
    **{name: having(aggregation=rule) for name, rule in RULES.items()},
    **{
        f"{name}, {backbone}": having(loss=LOSSES[name], backbone=config)
        for name in ("full", "sampled", "gbce")
        for backbone, config in BACKBONES.items()
    },
    **{
        f"{name}, {rule}, lazy": having(loss=LOSSES[name], aggregation=RULES[rule], schedule=updating("lazy"))
        for name in ("sampled", "bce")
        for rule in ("joint", "deconfounded", "reptile", "PCGrad")
    },
    # One user at least is left to one process alone.
    "few users a step": having(schedule=PLAIN.schedule.model_copy(update={"batch_users": 5})),
    "few users a step, joint": having(aggregation=None, schedule=PLAIN.schedule.model_copy(update={"batch_users": 5})),
}
DROPPING = having(backbone=SASRecConfig(**SMALL | {"dropout": 0.5}, blocks=1))
DIVERGING = having(schedule=PLAIN.schedule.model_copy(update={"learning_rate": 1e30, "epochs": 3}))


def trained(dataset, config, peers=ALONE):
    """The weights and the report of the last epoch; of a training that diverges, what it says."""
    reports = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            model = train_backbone(dataset, config, reports.append, peers=peers)
        except DivergedError as error:
            return str(error)
    return model.state_dict(), reports[-1].row()


def as_peer(dataset, where, send):
    """All cases in one of the processes."""
    torch.set_num_threads(1)
    more = {"dropping": DROPPING, "dropping again": DROPPING, "diverging": DIVERGING}
    with joined("cpu", **where) as peers:
        found = {name: trained(dataset, config, peers) for name, config in (CASES | more).items()}
        for name, change in (("equal", 0), ("unequal", 1e-7 * peers.rank)):
            try:
                found[name] = peers.check_equal(torch.nn.Embedding.from_pretrained(torch.eye(3) + change))
            except RuntimeError as error:
                found[name] = str(error)
        found |= under_torchrun(dataset, peers)
    return found


def under_torchrun(dataset, peers):
    """The first process leads a training that diverges, then one that does not; in the end the other has other code."""
    os.environ["LOCAL_WORLD_SIZE"] = "2"
    found = {}
    if peers.rank:
        hosts.assist(peers)
        hosts.method_version = lambda: "other"
    else:
        with pytest.raises(DivergedError):
            hosts.lead(dataset, DIVERGING, None, None)
        found["led"] = hosts.lead(dataset, PLAIN, None, None).state_dict()
        hosts.dismiss(peers)
    with pytest.raises(InputError if peers.rank else EndedError) as error:
        hosts.assist(peers) if peers.rank else hosts.lead(dataset, PLAIN, None, None)
    return found | {"other code": str(error.value)}


@pytest.fixture(scope="module")
def together(planted_world, tmp_path_factory):
    """What both processes have found; they start once for all cases."""
    meeting = {"init_method": (tmp_path_factory.mktemp("peers") / "place").as_uri(), "world_size": 2}
    with ExitStack() as stack:
        dataset = planted_world.dataset
        calls = [stack.enter_context(beside(as_peer, dataset, {**meeting, "rank": rank})) for rank in range(2)]
        Several(calls).result()
        return [call.result() for call in calls]


def gap(weights, others):
    """The largest relative difference of a tensor."""
    return max(float((weights[key] - others[key]).norm() / weights[key].norm()) for key in weights)


@pytest.mark.parametrize("case", CASES)
def test_two_processes_agree_with_one(planted_world, together, case):
    weights, report = trained(planted_world.dataset, CASES[case])
    theirs, their_report = together[0][case]
    # Agr-Rand puts noise where signs differ, and those of a gradient of 0 differ by rounding.
    assert gap(weights, theirs) < (1e-2 if case == "agr_rand" else 5e-5)
    assert their_report == pytest.approx(report, rel=1e-3)


def test_both_processes_have_the_same_weights_and_reports(together):
    for case in (*CASES, "dropping"):
        (mine, my_report), (others, other_report) = (found[case] for found in together)
        assert all(torch.equal(mine[key], others[key]) for key in mine), case
        assert my_report == other_report


def test_the_same_seed_and_processes_give_the_same_digits(together):
    (once, report), (again, other_report) = together[0]["dropping"], together[0]["dropping again"]
    assert all(torch.equal(once[key], again[key]) for key in once)
    assert report == other_report
    assert gap(once, together[0]["full, strata"][0]) > 1e-3  # it did drop


def test_every_process_drops_other_entries():
    generators = Generators(1)
    drawn = [torch.rand(9, generator=Peers(rank, 2).noise(1, generators)) for rank in range(2)]
    assert not torch.equal(*drawn)
    assert Peers(0, 1).noise(1, generators) is generators.of_device


def test_a_training_that_diverges_does_so_in_all_processes_and_says_the_same(planted_world, together):
    alone = trained(planted_world.dataset, DIVERGING)
    assert "learning_rate" in alone
    assert [found["diverging"].partition(" at ")[2] for found in together] == [alone.partition(" at ")[2]] * 2


def test_different_weights_are_an_error(together):
    for found in together:
        assert found["equal"] is None
        assert "different weights" in found["unequal"]


def test_the_first_process_of_torchrun_leads_all_trainings(together):
    weights, _ = together[0]["full, strata"]
    assert all(torch.equal(weights[key], value) for key, value in together[0]["led"].items())


def test_a_host_with_other_code_takes_no_part(together):
    lost, refused = (found["other code"] for found in together)
    assert "other code than the first host" in refused
    assert "has lost one of its 2 processes" in lost


@pytest.mark.parametrize("count", [2, 3, 7])
def test_every_user_is_of_one_process_and_shares_are_even(count):
    inputs = [torch.ones(users, 4, dtype=torch.long) * torch.arange(1, users + 1)[:, None] for users in (1, 5, 8, 1)]
    groups = [[(x, x.flatten(), Candidates()) for x in inputs]]
    shares = [Peers(rank, count).own(groups)[0][0] for rank in range(count)]
    users = [sum(len(x) for x, _, _ in share) for share in shares]
    assert sum(users) == 15
    assert max(users) - min(users) <= 2
    assert all(torch.equal(x.flatten(), targets) for share in shares for x, targets, _ in share)


def test_only_few_processes_have_users_of_a_stratum():
    inputs = [torch.ones(users, 4, dtype=torch.long) for users in (20, 20, 8, 1, 1)]
    groups = [[(x, x.flatten(), Candidates())] for x in inputs]
    for rank in range(2):
        own, held = Peers(rank, 2).own(groups)
        assert held == [range(2), range(1, 5)]
        assert [a for a, group in enumerate(own) if group] == list(held[rank])
    assert Peers(0, 60).own(groups)[1].count(range(0)) == 10  # more processes than users


@pytest.mark.parametrize(
    ("given", "words"),
    [({"processes": 2, "threads": None}, "threads must be a number"), ({"processes": 2, "device": "cuda:1"}, "cuda")],
)
def test_what_processes_cannot_share_is_refused(given, words):
    with pytest.raises(ValidationError, match=words):
        BackboneTraining(**given)
