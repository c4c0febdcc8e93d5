"""Warm start: an earlier model for a changed catalogue."""

import numpy as np
import pytest
import torch

from pinet_kedro.backbones.backbone import build_backbone
from pinet_kedro.backbones.config import DINConfig, GRU4RecConfig, SASRecConfig
from pinet_kedro.training.warm_start import carry_over

OLD = ["a", "b", "c", "d", "e"]
# max_length equals the rows of an item table here: it must not be taken for one.
CONFIGS = [
    SASRecConfig(width=8, max_length=6, heads=1),
    GRU4RecConfig(width=8, hidden=8, max_length=6),
    DINConfig(width=8, max_length=6),
]


@pytest.fixture(params=CONFIGS, ids=lambda config: config.name)
def old(request):
    torch.manual_seed(3)
    model = build_backbone(request.param, len(OLD)).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name == "item_bias.weight":  # starts at 0, which a fresh one would be as well
                parameter.normal_()
    return model


def scores(model, ids, history):
    at = {item: j for j, item in enumerate(ids, 1)}
    found = model.eval().read(torch.tensor([[0, 0, *(at[item] for item in history)]]))[1][0]
    return dict(zip(ids, found.detach().tolist(), strict=True))


def test_scores_of_known_items_do_not_depend_on_their_numbers(old):
    new_ids = ["e", "new", "c", "a", "newer", "b"]  # d is gone
    new = carry_over(old, OLD, new_ids, seed=1)
    before, after = scores(old, OLD, ["a", "c", "b"]), scores(new, new_ids, ["a", "c", "b"])
    kept = ["a", "b", "c", "e"]
    np.testing.assert_allclose([after[i] for i in kept], [before[i] for i in kept], rtol=1e-5, atol=1e-6)


def test_the_same_catalogue_gives_the_same_weights(old):
    for mine, theirs in zip(carry_over(old, OLD, OLD, seed=1).parameters(), old.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_new_items_get_parameters_drawn_from_the_seed(old):
    vectors = [carry_over(old, OLD, [*OLD, "new"], seed).item_vectors()[-1] for seed in (1, 1, 2)]
    assert torch.equal(vectors[0], vectors[1])
    assert not torch.equal(vectors[0], vectors[2])


def test_padding_stays_zero_and_the_global_generator_is_not_used(old):
    state = torch.get_rng_state()
    new = carry_over(old, OLD, ["x", "y"], seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    assert not new.items.weight[0].any()
