"""The exported backbone has the scores of torch, or there is no export."""

import copy
import json
import shutil

import numpy as np
import onnxruntime
import pytest
import torch

from pinet_kedro.backbones.backbone import build_backbone
from pinet_kedro.backbones.config import DINConfig, GRU4RecConfig, LRURecConfig, SASRecConfig
from pinet_kedro.errors import InputError
from pinet_kedro.evidence import BackboneScorer
from pinet_kedro.recommender import new_recommender
from pinet_kedro.serving import onnx_export
from pinet_kedro.serving.onnx_export import export_backbone

pytestmark = pytest.mark.slow  # an export takes seconds


@pytest.fixture(scope="module")
def exported(planted_world, joint_backbone, tmp_path_factory):
    """The folder of an export, and the largest difference that it found."""
    folder = tmp_path_factory.mktemp("onnx") / "exported"
    return folder, export_backbone(new_recommender(joint_backbone, planted_world.dataset), folder)


def test_scores_are_those_of_torch_for_any_number_of_users(planted_world, joint_backbone, exported):
    folder, difference = exported
    assert difference < 1e-5
    assert sorted(file.name for file in folder.iterdir()) == ["backbone.onnx", "items.json"]
    assert json.loads((folder / "items.json").read_text()) == planted_world.item_ids.tolist()
    assert [file.name for file in folder.parent.iterdir()] == ["exported"]
    session = onnxruntime.InferenceSession(folder / "backbone.onnx", providers=["CPUExecutionProvider"])
    for users in (1, 3, 50):
        rows, ends = np.arange(users), planted_world.sequences.lengths[:users]
        histories = planted_world.sequences.windows(rows, ends, joint_backbone.config.max_length)
        states, scores = session.run(["states", "scores"], {"histories": histories})
        expected = BackboneScorer(joint_backbone).read(torch.from_numpy(histories))
        np.testing.assert_allclose(states, expected[0].detach(), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(scores, expected[1].detach(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("blocks", [1, 2])
def test_lrurec_is_exported(planted_world, tmp_path, blocks):
    torch.manual_seed(0)
    config = LRURecConfig(width=16, hidden=12, blocks=blocks, max_length=10)
    model = new_recommender(build_backbone(config, planted_world.n_items).finish(), planted_world.dataset)
    assert export_backbone(model, tmp_path / "exported") < 1e-5


def test_an_export_that_differs_is_not_written(planted_world, exported, tmp_path, monkeypatch):
    """The file of one backbone in place of another's."""
    monkeypatch.setattr(onnx_export, "_write", lambda _, __, file: shutil.copy(exported[0] / "backbone.onnx", file))
    other = build_backbone(SASRecConfig(width=16, blocks=1, max_length=10), planted_world.n_items)
    with pytest.raises(ArithmeticError, match="the export was not written"):
        export_backbone(new_recommender(other, planted_world.dataset), tmp_path / "exported")
    assert list(tmp_path.iterdir()) == []


def test_scores_that_are_not_numbers_are_not_written(planted_world, joint_backbone, tmp_path):
    """The vector of one item, which is not in the first history that is compared: all its states are numbers."""
    broken, n_items = copy.deepcopy(joint_backbone), planted_world.n_items
    first = np.random.default_rng(1).integers(1, n_items + 1, (1, broken.config.max_length))
    with torch.no_grad():
        broken.items.weight[np.setdiff1d(np.arange(1, n_items + 1), first)[0]] = torch.nan
    with pytest.raises(ArithmeticError, match="by nan of the largest"):
        export_backbone(new_recommender(broken, planted_world.dataset), tmp_path / "exported")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("config", [GRU4RecConfig(width=8), DINConfig(width=8)], ids=["gru4rec", "din"])
def test_other_backbones_are_refused(planted_world, tmp_path, config):
    model = new_recommender(build_backbone(config, planted_world.n_items), planted_world.dataset)
    with pytest.raises(InputError, match=f"the backbone {config.name} cannot be exported"):
        export_backbone(model, tmp_path / "exported")


def test_without_the_packages_the_way_out_is_named(planted_world, joint_backbone, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_export, "find_spec", lambda _: None)
    with pytest.raises(InputError, match=r"pip install 'pinet-kedro\[onnx\]'"):
        export_backbone(new_recommender(joint_backbone, planted_world.dataset), tmp_path / "exported")
