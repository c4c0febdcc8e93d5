"""What a manifest holds, and which ones cannot belong together."""

import numpy as np
import pandas as pd
import pytest
from kedro.io import DatasetError

from pinet_kedro import provenance
from pinet_kedro.datasets.files import InteractionsDataset, JSONDataset, ParquetDataset, PydanticDataset, TextDataset
from pinet_kedro.datasets.folders import PreparedDataset
from pinet_kedro.datasets.items import ItemMetadataDataset
from pinet_kedro.datasets.manifests import Entry, MixedError, Recipe, content_hash, merged, read_manifest
from pinet_kedro.errors import InputError
from pinet_kedro.interactions.sequences import Sequences
from pinet_kedro.interactions.split import Split
from pinet_kedro.plugins.config import PluginTraining
from prepared import as_dataset


def recipe(name="data", **parents):
    return Recipe(name, "node", "full", "test", {"seed": 1, "none": {"x": None}}, parents, {"source": "abc"})


SPLIT = tuple(np.arange(2) for _ in range(4))
DATASETS = {
    "table": (ParquetDataset, {}, pd.DataFrame({"x": [1]})),
    "json": (JSONDataset, {}, {"x": 1}),
    "text": (TextDataset, {}, "text"),
    "typed": (PydanticDataset, {"model": "pinet_kedro.plugins.config.PluginTraining"}, PluginTraining()),
    "folder": (PreparedDataset, {}, as_dataset(Sequences(*(np.arange(3) for _ in range(3))), Split(*SPLIT), 3)),
}


@pytest.fixture(params=DATASETS)
def stored(request, tmp_path):
    kind, settings, value = DATASETS[request.param]
    dataset = kind(filepath=str(tmp_path / request.param), **settings)
    dataset.recipe = recipe()
    dataset.save(value)
    return dataset, tmp_path / request.param


def test_a_dataset_is_stored_with_its_manifest(stored):
    dataset, path = stored
    manifest = dataset.manifest()
    assert manifest.content == content_hash(path)
    assert manifest.configuration == {"seed": 1, "none": {"x": None}}
    assert (manifest.node, manifest.pipeline, manifest.environment) == ("node", "full", "test")


def test_the_manifest_of_the_same_data_names_the_same_content(stored):
    dataset, _ = stored
    before = dataset.manifest()
    dataset.save(dataset.load())
    assert dataset.manifest().contents() == before.contents()


def test_lineage_holds_parents_and_theirs(tmp_path):
    chain = []
    for name in ("a", "b", "c"):
        dataset = TextDataset(str(tmp_path / name))
        dataset.recipe = recipe(name, **({chain[-1].recipe.dataset: chain[-1]} if chain else {}))
        dataset.save(name)
        chain.append(dataset)
    assert list(chain[-1].manifest().contents()) == ["a", "b", "c"]


def entry(content, made="2026-01-01"):
    return Entry(content=content, place=f"data/{content}", configuration={}, made=made)


def test_datasets_from_one_ancestor_belong_together():
    split = entry("split")
    assert list(merged([{"base": entry("base"), "split": split}, {"split": split}])) == ["base", "split"]


def test_a_dataset_from_another_version_of_a_present_one_is_the_one_to_make_again():
    base = entry("base")
    with pytest.raises(MixedError, match="data/base was made from another data/old") as caught:
        merged([{"base": base, "split": entry("old")}, {"split": entry("new")}])
    assert caught.value.older is base


def test_of_two_from_different_ancestors_the_older_is_made_again():
    base, pin = entry("base", "2026-01-02"), entry("pin", "2026-01-01")
    with pytest.raises(MixedError, match="different versions of data/old") as caught:
        merged([{"base": base, "split": entry("old")}, {"pin": pin, "split": entry("new")}])
    assert caught.value.older is pin


def test_of_a_source_that_is_contained_the_newer_one_counts():
    """Of titles that have changed since a model was trained, nothing is in the dataset, which is the same."""
    old, new = (entry(content).model_copy(update={"contained": True}) for content in ("old titles", "new titles"))
    model, dataset = entry("model", "2026-01-01"), entry("dataset", "2026-01-02")
    lineages = [{"model": model, "dataset": dataset, "titles": old}, {"dataset": dataset, "titles": new}]
    for given in (lineages, lineages[::-1]):
        assert merged(given)["titles"] == new


def test_a_source_that_has_changed_since_it_was_read_is_not_recorded(tmp_path):
    """What was made from the old content would be taken for made from the new one."""
    log = tmp_path / "log.csv"
    log.write_text("user_id,item_id,timestamp\nu,a,1600000000\n")
    source, made = InteractionsDataset(str(log)), TextDataset(str(tmp_path / "made"))
    made.recipe = recipe(raw_interactions=source)
    source.load()
    made.save("of one event")
    assert made.manifest().lineage["raw_interactions"].content == content_hash(log)
    with log.open("a") as file:
        file.write("u,b,1600000001\n")
    with pytest.raises(DatasetError, match=r"log\.csv has changed since this run read it: run again"):
        made.save("of one event")
    source.load()
    made.save("of two events")


def test_a_source_that_is_not_there_says_so(tmp_path):
    for source in (InteractionsDataset(str(tmp_path / "log.csv")), ItemMetadataDataset(str(tmp_path / "items.csv"))):
        with pytest.raises(DatasetError, match=r"\.csv: no such file"):
            source.load()


@pytest.mark.parametrize(
    ("text", "words"),
    [(None, "no manifest"), ("{", "cannot be read"), ("[]", "cannot be read"), ('{"format": 99}', "format 99"),
     ('{"format": 1}', "cannot be read"), ("\udcff", "cannot be read")],
)  # fmt: skip
def test_a_manifest_that_cannot_be_used_is_a_sentence(tmp_path, text, words):
    path = tmp_path / "a.parquet"
    path.write_bytes(b"")
    if text is not None:
        (tmp_path / "a.parquet.manifest.json").write_text(text, errors="surrogateescape")
    with pytest.raises(InputError, match=words):
        read_manifest(path)


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of one module of the method, and its version."""
    (tmp_path / "activeness.py").write_text('"""Strata."""\nx = 1\n')
    monkeypatch.setattr(provenance, "_PACKAGE", tmp_path)
    monkeypatch.setattr(provenance, "_METHOD", ("activeness.py",))
    return tmp_path / "activeness.py", provenance.method_version.__wrapped__


def test_the_version_of_the_method_changes_with_what_it_computes_alone(package):
    module, version = package
    before = version()
    module.write_text('"""Strata of users."""\n\n# one\nx = 1\n')
    assert version() == before
    module.write_text('"""Strata."""\nx = 2\n')
    assert version() != before


def test_the_version_of_the_method_changes_with_its_libraries_and_not_with_their_builds(package, monkeypatch):
    _, version = package
    own, given = version(), provenance.version
    monkeypatch.setattr(provenance, "version", lambda name: f"{given(name).partition('+')[0]}+cu130")
    assert version() == own
    monkeypatch.setattr(provenance, "version", lambda name: "99" if name == "torchjd" else given(name))
    assert version() != own
