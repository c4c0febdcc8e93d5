"""One file and one line add a backbone, a rule, a scorer, a data set or a gate, as CONTRIBUTING.md says."""

import importlib
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from kedro.io import DataCatalog

from pinet_kedro import aggregation, backbones, plugins, promotion
from pinet_kedro.aggregation import library
from pinet_kedro.backbones.config import NETWORKS
from pinet_kedro.checking import checked
from pinet_kedro.errors import InputError
from pinet_kedro.evaluation.challenge import Challenge
from pinet_kedro.fitting.plugin import fit_plugins
from pinet_kedro.fitting.scorers import build_scorers
from pinet_kedro.plugins import scorers as scorers_module
from pinet_kedro.plugins.config import PluginTraining
from pinet_kedro.plugins.scorers import SCORERS
from pinet_kedro.promotion import gates
from pinet_kedro.promotion.config import Gates
from pinet_kedro.promotion.decision import Gate
from pinet_kedro.promotion.fresh_process import FreshProcessResult
from pinet_kedro.recommender import Recommender
from pinet_kedro.runs.loader import ConfigurationLoader
from pinet_kedro.training.backbone import train_backbone
from pinet_kedro.training.config import BackboneTraining

pytestmark = pytest.mark.slow  # trains with what it adds

ROOT = Path(__file__).parents[1]

BACKBONE = '''
"""The mean of the item vectors of a history."""

from typing import Literal

import torch
from torch import nn

from pinet_kedro.backbones.backbone import Backbone
from pinet_kedro.backbones.config import SharedConfig


class MineConfig(SharedConfig):
    name: Literal["mine"] = "mine"
    scale: float = 1.0


class Mine(Backbone):
    Config = MineConfig

    def __init__(self, config, n_items):
        super().__init__()
        self.config, self.n_items = config, n_items
        self.items = nn.Embedding(1 + n_items, config.width, padding_idx=0)

    def states(self, items, rng=None):
        seen = (items != 0).cumsum(1).clamp(min=1)[..., None]
        return self.config.scale * self.items(items).cumsum(1) / seen

    def item_vectors(self):
        return self.items.weight[1:]
'''

RULE = '''
"""The gradient of the stratum with the largest norm."""

from torchjd.aggregation import Aggregator


class Mine(Aggregator):
    def __init__(self, times=1.0):
        super().__init__()
        self.times = times

    def forward(self, matrix):
        return self.times * matrix[matrix.norm(dim=1).argmax()]
'''

SCORER = '''
"""The share of training events before which an item was bought."""

import numpy as np
import torch

from pinet_kedro.configuration import Configuration
from pinet_kedro.plugins.frozen_scorer import FrozenScorer


class MineConfig(Configuration):
    power: float = 1.0


class Mine(FrozenScorer):
    Config = MineConfig
    history_length = 1

    def __init__(self, counts, config):
        self.counts, self.config = counts, config

    @classmethod
    def fit(cls, dataset, config):
        return cls(torch.from_numpy(dataset.split.item_counts(dataset.sequences, dataset.n_items)).float(), config)

    def term(self, histories):
        return (self.counts / self.counts.sum()) ** self.config.power

    def tensors(self):
        return {"counts": self.counts}

    @classmethod
    def restore(cls, tensors, config):
        return cls(tensors["counts"], config)
'''

GATE = '''
"""A gate on the number of test users."""

from pinet_kedro.promotion.decision import Gate


def mine(inputs):
    users = inputs.challenge.groups["all"]["users"]
    return (Gate(name="enough users", passed=users >= 1000, measured=f"{users} users", asked="at least 1,000 users"),)
'''


@pytest.fixture
def add_file(tmp_path, monkeypatch):
    """Adds the file `mine.py` to a package, and gives it as a module."""

    def add(package, source):
        folder = tmp_path / package.__name__
        folder.mkdir()
        (folder / "mine.py").write_text(source)
        monkeypatch.setattr(package, "__path__", [*package.__path__, str(folder)])
        monkeypatch.delitem(sys.modules, f"{package.__name__}.mine", raising=False)
        return importlib.import_module(f"{package.__name__}.mine")

    return add


def recommender(world, config):
    backbone = train_backbone(world.dataset, config)
    return Recommender(backbone, world.strata, world.popularity, world.item_ids)


def assert_stored_and_read(model, folder):
    model.save(folder)
    histories = [model.item_ids[:3].tolist(), []]
    assert Recommender.load(folder).recommend(histories, k=5) == model.recommend(histories, k=5)


def test_a_backbone(add_file, monkeypatch, planted_world, small_training, tmp_path):
    module = add_file(backbones, BACKBONE)
    monkeypatch.setitem(NETWORKS, "mine", "mine:Mine")
    settings = small_training.joint().model_dump(mode="json")
    config = BackboneTraining.model_validate(settings | {"backbone": {"name": "mine", "width": 16, "scale": 2.0}})
    assert BackboneTraining.model_validate(config.model_dump(mode="json")) == config
    model = recommender(planted_world, config)
    assert isinstance(model.backbone, module.Mine)
    assert model.backbone.config.scale == 2
    assert_stored_and_read(model, tmp_path)
    with pytest.raises(InputError, match="'depth' is no setting here"):
        checked(BackboneTraining, settings | {"backbone": {"name": "mine", "depth": 2}}, "backbone_training")


def test_a_rule(add_file, monkeypatch, planted_world, small_training):
    monkeypatch.setitem(library.OTHERS, "Mine", add_file(aggregation, RULE).Mine)
    rule = {"rule": "torchjd", "name": "Mine", "options": {"times": 0.5}}
    config = BackboneTraining.model_validate(small_training.model_dump(mode="json") | {"aggregation": rule})
    aggregator = library.build_aggregator("Mine", {"times": 0.5}, groups=2)
    assert aggregator(torch.tensor([[1.0, 0.0], [0.0, 2.0]])).tolist() == [0, 1]
    joint, ruled = (train_backbone(planted_world.dataset, c).state_dict() for c in (config.joint(), config))
    assert any(not torch.equal(joint[name], ruled[name]) for name in joint)


def test_a_scorer(add_file, monkeypatch, planted_world, small_training, tmp_path):
    monkeypatch.setitem(SCORERS, "mine", add_file(plugins, SCORER).Mine)
    config = PluginTraining.model_validate({"memory_search": None, "scorers": {"mine": {"power": 0.5}}})
    scorers = build_scorers(planted_world.dataset, planted_world.popularity, config)
    assert scorers.names == ("memory", "factors", "mine", "popularity", "recency")
    model = recommender(planted_world, small_training.joint())
    fitted, _ = fit_plugins(model.backbone, planted_world.dataset, scorers, config)
    assert fitted.weights()["mine"].any()
    assert_stored_and_read(replace(model, plugins=fitted), tmp_path)
    with pytest.raises(ValueError, match="there is no scorer 'yours'; there are categories, mine"):
        PluginTraining.model_validate({"scorers": {"yours": {}}})
    with pytest.raises(ValueError, match="powr"):
        PluginTraining.model_validate({"scorers": {"mine": {"powr": 1}}})


def test_a_scorer_without_settings_is_stored_with_its_place_among_the_others(
    add_file, monkeypatch, planted_world, small_training, tmp_path
):
    source = SCORER.replace("power: float = 1.0", "pass").replace("self.config.power", "0.5")
    with monkeypatch.context() as patch:
        patch.setitem(SCORERS, "mine", add_file(plugins, source).Mine)
        config = PluginTraining.model_validate({"memory_search": None, "scorers": {"mine": {}}})
        scorers = build_scorers(planted_world.dataset, planted_world.popularity, config)
        model = recommender(planted_world, small_training.joint())
        fitted, _ = fit_plugins(model.backbone, planted_world.dataset, scorers, config)
        model = replace(model, plugins=fitted)
        model.save(tmp_path)
        patch.setattr(scorers_module, "SCORERS", dict(reversed(SCORERS.items())))  # as a later release may list them
        again = Recommender.load(tmp_path)
        assert again.plugins.scorers.names == ("memory", "factors", "mine", "popularity", "recency")
        history = [planted_world.item_ids[:5].tolist()]
        assert again.recommend(history, 60)[0] == model.recommend(history, 60)[0]
    with pytest.raises(ValueError, match="no scorer 'mine'"):  # and code without it does not read the model
        Recommender.load(tmp_path)


def test_a_data_set(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the entry names a suite of expectations, which is a file in conf/base
    lines = [f"u{n % 12},i{n % 17},{1_500_000_000 + n}\n" for n in range(60)]
    (tmp_path / "mine.csv").write_text("who,what,when\n" + "".join(lines))
    columns = {"user": "who", "item": "what", "timestamp": "when"}
    entry = yaml.safe_load((ROOT / "conf/amazon_beauty/catalog.yml").read_text(encoding="utf-8"))["raw_interactions"]
    entry |= {"filepath": str(tmp_path / "mine.csv"), "timestamp_unit": "s", "columns": columns}
    (tmp_path / "conf/mine").mkdir(parents=True)
    (tmp_path / "conf/mine/catalog.yml").write_text(yaml.safe_dump({"raw_interactions": entry}))
    shutil.copytree(ROOT / "conf/base", tmp_path / "conf/base")
    loader = ConfigurationLoader(tmp_path / "conf", env="mine", base_env="base", default_run_env="local")
    catalog = DataCatalog.from_config({"raw_interactions": loader["catalog"]["raw_interactions"]})
    found = catalog.load("raw_interactions")
    assert len(found.events) == 60


def test_a_gate(add_file, monkeypatch):
    monkeypatch.setattr(gates, "GATES", [*gates.GATES, add_file(promotion, GATE).mine])
    gain = {"relative": 0.05, "low": 0.01, "high": 0.09}
    group = {"users": 999, "challenger": 0.2, "reference": 0.1, "gain": gain}
    challenge = Challenge(dict.fromkeys(("all", "head", "tail"), group), 0.5, 0.4, (0, 0))
    valid = Gate(name="validation", passed=True, measured="2 suites passed", asked="all")
    strata = type("Strata", (), {"quintiles": ()})()
    inputs = gates.GateInputs(Gates(), challenge, FreshProcessResult(None, 1.0, 5.0), valid, {}, strata)
    assert [gate.name for gate in gates.judge(inputs) if not gate.passed] == ["enough users"]


def test_contributing_names_these_places():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    places = {"NETWORKS": "backbones/config.py", "OTHERS": "aggregation/library.py", "SCORERS": "plugins/scorers.py",
              "GATES": "promotion/gates.py"}  # fmt: skip
    for name, file in places.items():
        assert f"`{name}` in `{file}`" in text
        assert name in (ROOT / "src/pinet_kedro" / file).read_text(encoding="utf-8")
