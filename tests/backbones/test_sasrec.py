"""SASRec: an independent computation of its states; our dropout against its contract."""

import json

import pytest
import torch
import torch.nn.functional as F

from pinet_kedro.backbones.backbone import build_backbone
from pinet_kedro.backbones.config import SASRecConfig
from pinet_kedro.backbones.dropout import Dropout
from pinet_kedro.recommender import Recommender, new_recommender

EXACT = {"rtol": 1e-10, "atol": 1e-12}
HISTORIES = torch.tensor([[0, 0, 0, 4, 9, 2], [0, 7, 7, 1, 3, 5], [8, 6, 4, 2, 1, 3]])


@pytest.fixture(
    params=[
        ("absolute", "free", "pre_norm"),
        ("relative", "free", "pre_norm"),
        ("relative", "unit", "pre_norm"),
        ("absolute", "free", "original"),
        ("relative", "free", "original"),
    ],
    ids="-".join,
)
def model(request):
    torch.manual_seed(0)
    positions, norm, block = request.param
    config = SASRecConfig(width=8, blocks=2, heads=2, max_length=8, positions=positions, item_norm=norm, block=block)
    model = build_backbone(config, n_items=10).double().eval()
    for parameter in model.parameters():  # far from the start, where every block is close to the identity
        parameter.data += 0.5 * torch.randn_like(parameter)
    model.items.weight.data[0] = 0
    return model


def test_order_of_items_matters(model):
    swapped = HISTORIES[2:, [1, 0, 2, 3, 4, 5]]
    assert not torch.allclose(model.states(swapped)[:, -1], model.states(HISTORIES[2:])[:, -1])


def test_with_relative_positions_a_state_does_not_depend_on_its_place_in_the_window():
    torch.manual_seed(0)
    model = build_backbone(SASRecConfig(width=8, blocks=2, heads=2, max_length=8, positions="relative"), 10).eval()
    later = F.pad(HISTORIES[2:], (0, 2), value=5)  # two more events
    torch.testing.assert_close(model.states(later)[:, :6], model.states(HISTORIES[2:]))


def test_a_model_stored_before_relative_positions_were_the_default_has_absolute_ones(tmp_path, planted_world):
    config = SASRecConfig(width=8, blocks=1, heads=2, max_length=8, positions="absolute", item_norm="free")
    model = new_recommender(build_backbone(config, planted_world.n_items).eval(), planted_world.dataset)
    model.save(tmp_path)
    stored = json.loads((tmp_path / "recommender.json").read_text())
    assert stored["backbone"].pop("positions") == "absolute"
    assert stored["backbone"].pop("item_norm") == "free"
    (tmp_path / "recommender.json").write_text(json.dumps(stored))
    assert Recommender.load(tmp_path).backbone.config == config


@pytest.mark.parametrize("users", [0, 1, 300])
def test_newest_states_equal_the_last_of_all_states(model, users):
    torch.manual_seed(1)
    lengths = torch.randint(1, 9, (users, 1)).sort(0).values
    histories = torch.randint(1, 11, (users, 8)) * (torch.arange(8) >= 8 - lengths)
    torch.testing.assert_close(model.newest_states(histories), model.states(histories)[:, -1], **EXACT)


def test_states_equal_a_computation_with_torch_attention(model):
    length, width, heads = HISTORIES.shape[1], 8, 2
    table = model.items.weight
    relative = model.config.positions == "relative"
    bias = torch.full((heads, length, length), -torch.inf, dtype=torch.float64)
    for i, j in torch.tril_indices(length, length).T:
        bias[:, i, j] = model.positions.weight[i - j] if relative else 0
    for row, history in enumerate(HISTORIES):
        own = history[history != 0]  # real positions only: causal attention needs no other mask
        first = length - len(own)
        x = F.embedding(own, F.normalize(table) if model.config.item_norm == "unit" else table * width**0.5)
        if not relative:
            x = x + model.positions.weight[8 - len(own) :]
        block = original if model.config.block == "original" else pre_norm
        for layers in model.blocks:
            x = block(layers, x, bias[:, : len(own), : len(own)])
        torch.testing.assert_close(model.states(HISTORIES[row : row + 1])[0, first:], model.norm(x), **EXACT)


def by_head(x):
    return x.view(-1, 2, 4).transpose(0, 1)


def pre_norm(layers, x, bias):
    normed = layers.attention_norm(x)
    qkv = zip(layers.qkv.weight.chunk(3), layers.qkv.bias.chunk(3), strict=True)
    mixed = F.scaled_dot_product_attention(*(by_head(F.linear(normed, w, b)) for w, b in qkv), attn_mask=bias)
    x = x + layers.project(mixed.transpose(0, 1).reshape(x.shape))
    return x + layers.contract(F.gelu(layers.expand(layers.feed_norm(x))))


def original(layers, x, bias):
    """Each event attends to the events up to it, and to a vector of zeros for each empty place of a window of 8."""
    empty = 8 - len(x)
    key, value = (by_head(part) for part in layers.key_value(F.pad(x, (0, 0, empty, 0))).chunk(2, -1))
    query = by_head(layers.query(layers.attention_norm(x)))
    mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=F.pad(bias, (empty, 0)))
    x = layers.feed_norm(x + layers.project(mixed.transpose(0, 1).reshape(x.shape)))
    return x + layers.contract(F.relu(layers.expand(x)))


def test_unit_vectors_say_nothing_about_their_weights_lengths():
    torch.manual_seed(0)
    model = build_backbone(SASRecConfig(width=8, blocks=1, heads=2, max_length=8, item_norm="unit"), 10)
    model.items.weight.data[1:] *= torch.linspace(0.1, 9, 10)[:, None]
    torch.testing.assert_close(model.item_vectors().norm(dim=1), torch.ones(10))
    finished = model.finish().items.weight
    torch.testing.assert_close(finished.norm(dim=1)[1:], torch.ones(10))
    assert finished[0].abs().max() == 0


class TestDropout:
    x = torch.full((400, 501), 2.0)  # an odd number of entries: not a multiple of the 8 bytes of a word

    def dropped(self, p, seed=0):
        torch.manual_seed(seed)
        return Dropout(p)(self.x)

    @pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
    def test_share_of_zeros_is_the_rate(self, p):
        share = float((self.dropped(p) == 0).float().mean())
        assert share == pytest.approx(p, abs=1 / 512 + 4 * (p * (1 - p) / self.x.numel()) ** 0.5)

    @pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
    def test_expectation_is_the_input(self, p):
        error = 2 * (p / (1 - p) / self.x.numel()) ** 0.5
        assert float(self.dropped(p).double().mean()) == pytest.approx(2, abs=5 * error)

    def test_entries_are_zero_or_scaled(self):
        assert self.dropped(0.5).unique().tolist() == [0, 4]

    def test_all_bytes_of_a_word_drop_at_the_same_rate(self):
        # The sign bit of a word is a bit of its last byte: a draw that leaves it 0 makes that byte too small.
        entries = self.dropped(0.5).flatten()[: 8 * 25_000].view(-1, 8)
        torch.testing.assert_close((entries == 0).float().mean(0), torch.full((8,), 0.5), rtol=0, atol=0.02)

    def test_evaluation_and_a_rate_of_zero_are_the_identity(self):
        assert Dropout(0.5).eval()(self.x) is self.x
        assert Dropout(0.0)(self.x) is self.x

    def test_seed_determines_the_mask(self):
        assert torch.equal(self.dropped(0.3, seed=5), self.dropped(0.3, seed=5))
        assert not torch.equal(self.dropped(0.3, seed=5), self.dropped(0.3, seed=6))

    def test_gradient_passes_where_entries_are_kept(self):
        x = torch.ones(1000, requires_grad=True)
        out = Dropout(0.25)(x)
        out.sum().backward()
        torch.testing.assert_close(x.grad, out.detach())

    def test_a_rate_close_to_one_keeps_some_entries(self):
        out = self.dropped(0.999)
        assert torch.isfinite(out).all()
        assert 0 < int((out > 0).sum()) < 0.01 * out.numel()
