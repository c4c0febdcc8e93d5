"""What kedro-viz shows of stored datasets: rows of every table, whatever the latest run has stored."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from kedro.io import DataCatalog, MemoryDataset
from kedro.pipeline import Pipeline, node
from plotly.graph_objects import Figure

from pinet_kedro.datasets.files import JSONDataset, ParquetDataset, PlotlyDataset
from pinet_kedro.interactions.events import Interactions
from pinet_kedro.runs import viz_statistics
from pinet_kedro.runs.viz_statistics import VizStatistics

FILE = Path(".viz/stats.json")


@pytest.fixture
def catalog(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(viz_statistics, "project_folder", Path)
    Path("sequences").mkdir()
    np.save("sequences/items.npy", np.arange(7))
    table = ParquetDataset(filepath="table.parquet")
    table.save(pd.DataFrame({"a": [1, 2, 3], "b": [0.123456, 1e-5 / 3, float("nan")]}))
    Path("raw.csv").write_text("u,i\n")
    sequences, raw = JSONDataset(filepath="x.json"), JSONDataset(filepath="raw.csv")
    sequences._filepath = Path()
    return DataCatalog({"table": table, "sequences": sequences, "raw": raw, "memory": MemoryDataset(1)})


def run(catalog, pipeline):
    """A run in which kedro-viz has written what it does of `pipeline`."""
    hook = VizStatistics()
    hook.before_pipeline_run()
    hook.after_dataset_loaded("raw", Interactions.canonical(pd.DataFrame({"u": [1, 2], "i": [3, 4]}), "raw.csv"))
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text("{}")
    hook.after_pipeline_run(pipeline, catalog)
    return json.loads(FILE.read_text())


def test_every_stored_dataset_has_its_size_and_tables_their_rows(catalog):
    found = run(catalog, Pipeline([node(lambda *_: 1, ["table", "sequences", "raw"], "memory")]))
    assert {name: (of.get("rows"), of.get("columns")) for name, of in found.items()} == {
        "table": (3, 2), "sequences": (7, None), "raw": (2, 2),
    }  # fmt: skip
    assert all(of["file_size"] > 0 for of in found.values())


def test_a_run_of_another_pipeline_leaves_what_is_known(catalog):
    run(catalog, Pipeline([node(lambda _: 1, "table", "memory")]))
    found = run(catalog, Pipeline([node(lambda _: 1, "raw", "memory")]))
    assert found["table"]["rows"] == 3


def test_without_kedro_viz_nothing_is_written(catalog):
    hook = VizStatistics()
    hook.before_pipeline_run()
    hook.after_pipeline_run(Pipeline([node(lambda _: 1, "table", "memory")]), catalog)
    assert not FILE.exists()


def test_a_preview_has_rounded_numbers(catalog):
    rows = catalog.get("table").preview(nrows=2)["data"]
    assert rows == [[1, 0.1235], [2, 3.33e-06]]


def test_a_figure_has_its_title_above_it(catalog):
    figure = PlotlyDataset(filepath="figure.json")
    figure.save(Figure().add_scatter(x=[1], y=[2]).update_layout(title_text="What it<br>shows"))
    layout = figure.preview()["layout"]
    assert "title" not in layout
    assert [(of["text"], of["y"], of["yanchor"]) for of in layout["annotations"]] == [("What it shows", 1, "bottom")]
    assert figure.load().layout.title.text == "What it<br>shows"
