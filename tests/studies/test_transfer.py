"""Scorers for head and tail users: who learns from whom, where they start, and what validation decides."""

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter, ValidationError

from pinet_kedro.activeness import Strata
from pinet_kedro.backbones.config import DINConfig, GRU4RecConfig, SASRecConfig
from pinet_kedro.evaluation.metrics import user_metrics
from pinet_kedro.evaluation.ranks import target_ranks
from pinet_kedro.evidence import BackboneScorer
from pinet_kedro.interactions.sequences import Sequences
from pinet_kedro.losses.config import SampledSoftmaxConfig
from pinet_kedro.studies.transfer.config import FineTuningConfig, SeparateConfig, TransferConfig, UserBranchConfig
from pinet_kedro.studies.transfer.transfer import HeadTailScorer, transfer
from pinet_kedro.studies.transfer.user_branch import UserBranchScorer, _histories, fit_user_branch
from pinet_kedro.training.backbone import train_backbone

BRANCH = UserBranchConfig(hidden=16, epochs=5)


@pytest.fixture
def short(small_training):
    schedule = small_training.schedule.model_copy(update={"epochs": 2})
    return small_training.model_copy(update={"schedule": schedule, "loss": SampledSoftmaxConfig(uniform_items=15)})


def head_of(world):
    return world.strata.head_tail.assign(world.split.train_end) == 1


def applied(config, world, training, base):
    return transfer(config, lambda: base, world.dataset, training.joint())


def scores(world, scorer, users=slice(None)):
    histories = torch.from_numpy(world.sequences.windows(world.users, world.split.test_at, scorer.history_length))
    return scorer.scores(histories[users], world.split.train_end[users])


def valid_ndcg(world, scorer, users):
    ranks = target_ranks(scorer, world.sequences, users, world.split.valid_at[users], world.split.exclude_seen)
    return user_metrics(ranks)["ndcg_at_10"].mean()


def with_other_items(world, users):
    """The world where these users have done something else."""
    items = world.sequences.items.copy()
    theirs = np.repeat(users, world.sequences.lengths)
    items[theirs] = items[theirs] % world.n_items + 1
    return world.having(sequences=Sequences(items, world.sequences.timestamps, world.sequences.offsets))


class Constant:
    history_length, n_items = 3, 4

    def __init__(self, value):
        self.value = value

    def scores(self, histories, lengths):
        return torch.full((len(histories), 4), self.value) + torch.from_numpy(lengths)[:, None]


def test_users_are_routed_by_their_activeness(planted_world):
    strata = planted_world.strata.head_tail
    least = strata.thresholds[0]
    scorer = HeadTailScorer(strata, Constant(0.0), Constant(1000.0))
    got = scorer.scores(torch.zeros(4, 3, dtype=torch.int64), np.array([least, 0, least - 1, least + 7]))
    assert got[:, 0].tolist() == [1000 + least, 0, least - 1, 1007 + least]
    assert scorer.scores(torch.zeros(1, 3, dtype=torch.int64), np.array([0])).shape == (1, 4)


def test_separate_backbones_are_those_of_their_users_alone(planted_world, short):
    w, head = planted_world, head_of(planted_world)
    scorer = applied(SeparateConfig(), w, short, None)
    for users in (head, ~head):
        other = applied(SeparateConfig(), with_other_items(w, ~users), short, None)
        assert torch.equal(scores(w, other, users), scores(w, scorer, users))
        assert not torch.allclose(scores(w, other, ~users), scores(w, scorer, ~users))


def test_fine_tuning_starts_from_the_base_and_leaves_it_alone(planted_world, short, joint_backbone):
    w, before = planted_world, [p.clone() for p in joint_backbone.parameters()]
    still = applied(FineTuningConfig(epochs=1, learning_rate=1e-30), w, short, joint_backbone)
    assert torch.equal(scores(w, still), scores(w, BackboneScorer(joint_backbone)))
    applied(FineTuningConfig(epochs=2, learning_rate=0.1), w, short, joint_backbone)
    assert all(torch.equal(p, q) for p, q in zip(joint_backbone.parameters(), before, strict=True))


def test_fine_tuning_that_only_harms_is_not_kept(planted_world, small_training, joint_backbone):
    w = planted_world
    scorer = applied(FineTuningConfig(epochs=2, learning_rate=10.0), w, small_training, joint_backbone)
    assert torch.equal(scores(w, scorer), scores(w, BackboneScorer(joint_backbone)))


def test_fine_tuning_helps_a_base_that_has_learnt_little(planted_world, small_training):
    w, head = planted_world, head_of(planted_world)
    schedule = small_training.schedule.model_copy(update={"epochs": 1})
    base = train_backbone(w.dataset, small_training.joint().model_copy(update={"schedule": schedule}))
    scorer = applied(FineTuningConfig(epochs=5, learning_rate=1e-2), w, small_training, base)
    for group in (head, ~head):
        users = np.flatnonzero(group)
        assert valid_ndcg(w, scorer, users) > valid_ndcg(w, BackboneScorer(base), users)


def test_kept_epoch_is_the_best_of_those_validated(planted_world, small_training):
    w, reports = planted_world, []
    schedule = small_training.schedule.model_copy(
        update={"epochs": 4, "validate_every": 1, "learning_rate": 0.5, "weight_average": 0.0}
    )
    config = small_training.model_copy(update={"schedule": schedule})
    model = train_backbone(w.dataset, config.joint(), reports.append, keep_best=True)
    curve = [report.valid_ndcg["all"] for report in reports]
    assert max(curve) > curve[-1]
    assert valid_ndcg(w, BackboneScorer(model), w.users) == pytest.approx(max(curve))


def branch_of(world, backbone, config=BRANCH, seed=1):
    return fit_user_branch(backbone, world.dataset, config, seed)


SMALL = {"width": 8, "max_length": 10}
BACKBONES = [SASRecConfig(**SMALL, blocks=1), GRU4RecConfig(**SMALL, hidden=8), DINConfig(**SMALL)]


@pytest.mark.parametrize("backbone", BACKBONES, ids=lambda config: config.name)
def test_user_branch_moves_tail_users_only_and_never_below_the_base_on_validation(planted_world, short, backbone):
    w, head = planted_world, head_of(planted_world)
    training = short.model_copy(update={"backbone": backbone})
    base = train_backbone(w.dataset, training.joint())
    scorer = applied(BRANCH, w, training, base)
    alone = BackboneScorer(base)
    assert torch.equal(scores(w, scorer, head), scores(w, alone, head))
    tail = np.flatnonzero(~head)
    assert valid_ndcg(w, scorer, tail) >= valid_ndcg(w, alone, tail)
    assert torch.isfinite(scores(w, scorer)).all()


def test_user_branch_adds_the_predicted_state(planted_world, joint_backbone):
    branch = branch_of(planted_world, joint_backbone).branch
    histories = torch.from_numpy(planted_world.sequences.windows(planted_world.users, planted_world.split.test_at, 10))
    with torch.no_grad():
        states = joint_backbone.states(histories)[:, -1]
        expected = (states + 0.5 * branch(states)) @ joint_backbone.item_vectors().T
    moved = UserBranchScorer(joint_backbone, branch, 0.5).scores(histories, planted_world.split.train_end)
    torch.testing.assert_close(moved, expected)


def test_user_branch_learns_the_whole_history_from_its_end(planted_world, joint_backbone):
    """Of head users, better than their mean state and than an untrained network do."""
    w = planted_world
    users = np.flatnonzero(head_of(w))
    parts = _histories(w.dataset, users, 10, np.random.default_rng(9))
    with torch.no_grad():
        whole, recent = (joint_backbone.states(torch.from_numpy(h))[:, -1] for h in parts)

    def error(predicted):
        return float((predicted - whole).square().sum(1).mean())

    config = BRANCH.model_copy(update={"epochs": 100, "learning_rate": 1e-2})
    assert error(branch_of(w, joint_backbone, config).branch(recent)) < 0.7 * error(whole.mean(0))


def test_user_branch_learns_from_head_users_alone_and_is_seeded(planted_world, joint_backbone):
    w, states = planted_world, torch.randn(5, 16, generator=torch.Generator().manual_seed(0))
    first = branch_of(w, joint_backbone).branch(states)
    torch.manual_seed(5)
    assert torch.equal(branch_of(with_other_items(w, ~head_of(w)), joint_backbone).branch(states), first)
    assert not torch.allclose(branch_of(with_other_items(w, head_of(w)), joint_backbone).branch(states), first)
    assert not torch.allclose(branch_of(w, joint_backbone, seed=2).branch(states), first)


def test_user_branch_without_other_weights_is_the_base(planted_world, joint_backbone):
    scorer = branch_of(planted_world, joint_backbone, BRANCH.model_copy(update={"weights": ()}))
    assert scorer.weight == 0
    assert torch.equal(scores(planted_world, scorer), scores(planted_world, BackboneScorer(joint_backbone)))


def test_recent_part_is_the_end_of_the_whole_and_as_long_as_a_tail_history(planted_world):
    w = planted_world
    users = np.repeat(np.flatnonzero(head_of(w)), 20)
    head_from_7 = w.strata.model_copy(update={"head_tail": Strata(thresholds=(7,))})
    whole, recent = _histories(w.having(strata=head_from_7).dataset, users, 10, np.random.default_rng(0))
    lengths = (recent != 0).sum(1)
    assert sorted(set(lengths)) == [1, 2, 3, 4, 5, 6]
    assert np.array_equal(np.where(recent != 0, whole[:, -recent.shape[1] :], 0), recent)
    assert (np.diff((recent != 0).astype(int), axis=1) >= 0).all()
    assert ((whole != 0).sum(1) == np.minimum(w.split.train_end[users], 10)).all()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"kind": "distillation"}, ["'separate'", "'fine_tuning'", "'user_branch'"]),
        ({"kind": "separate", "epochs": 3}, ["'epochs' is no setting here"]),
        ({"kind": "fine_tuning", "learning_rate": 0}, ["learning_rate", "greater than 0"]),
    ],
    ids=str,
)
def test_wrong_configuration_is_refused_in_words(given, words):
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(TransferConfig).validate_python(given)
    assert all(word in str(caught.value) for word in words)
