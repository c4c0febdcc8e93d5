"""Equal ids of two logs are different items: metadata of one log are never shown for another."""

import shutil
from pathlib import Path

import pytest
import yaml
from kedro.framework import project
from kedro.framework.project import configure_project

from pinet_kedro.runs.loader import ConfigurationLoader
from pinet_kedro.settings import CONFIG_LOADER_ARGS

CONF = Path(__file__).parents[2] / "conf"
NONE = {"type": "pinet_kedro.datasets.items.ItemMetadataDataset"}


def entry(conf, env, name="item_metadata", **parameters):
    if project.PACKAGE_NAME is None:
        configure_project("pinet_kedro")
    loader = ConfigurationLoader(conf, env=env, runtime_params=parameters, **CONFIG_LOADER_ARGS)
    return loader["catalog"][name]


@pytest.fixture
def conf(tmp_path):
    """The shipped configuration with the parameters of one pipeline: all of them take YAML a tenth of a second."""
    shutil.copytree(CONF, tmp_path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("parameters_[!r]*", "local"))
    assert (tmp_path / "base/parameters_retraining.yml").exists()
    (tmp_path / "mine").mkdir()
    return tmp_path


def write(conf, *names):
    catalog = {name: {"type": "pandas.CSVDataset", "filepath": f"{name}.csv"} for name in names}
    (conf / "mine/catalog.yml").write_text(yaml.safe_dump(catalog))


def test_the_default_log_has_its_titles(conf):
    assert entry(conf, "base")["filepath"] == "data/01_raw/ml-100k.item"
    assert entry(conf, "mine")["filepath"] == "data/01_raw/ml-100k.item"


def test_an_environment_with_interactions_of_its_own_has_only_metadata_of_its_own(conf):
    write(conf, "raw_interactions")
    assert entry(conf, "mine") == NONE
    write(conf, "raw_interactions", "item_metadata")
    assert entry(conf, "mine")["filepath"] == "item_metadata.csv"


def test_a_configuration_that_does_not_name_metadata_has_none(conf):
    catalog = yaml.safe_load((conf / "base/catalog.yml").read_text())
    del catalog["item_metadata"]
    (conf / "base/catalog.yml").write_text(yaml.safe_dump(catalog))
    assert entry(conf, "mine") == NONE


def test_retraining_has_the_metadata_only_if_the_raw_log_is_part_of_its_data(conf):
    name = "retraining.item_metadata"
    assert entry(conf, "mine", name) == entry(conf, "mine")
    assert entry(conf, "mine", name, retraining={"raw_log": False}) == NONE
    write(conf, name)
    assert entry(conf, "mine", name, retraining={"raw_log": False})["filepath"] == f"{name}.csv"


@pytest.mark.parametrize("env", ["amazon_beauty", "ml_1m", "synthetic", "test"])
def test_shipped_environments_of_other_logs_have_none(conf, env, monkeypatch):
    monkeypatch.setenv("PINET_DATA", "somewhere")
    assert entry(conf, env) == NONE


def test_csv_takes_metadata_from_the_command_line(conf):
    found = entry(conf, "csv", metadata="items.csv", metadata_item="sku")
    assert found["filepath"] == "items.csv"
    assert found["columns"] == {"item": "sku", "title": "title", "categories": None, "separator": "|"}
    assert entry(conf, "csv")["filepath"] is None
