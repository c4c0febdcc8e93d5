"""The notebook of results: each figure has a picture for readers without plotly, and the code makes what is shown."""

import json
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
CELLS = [c for c in json.loads((NOTEBOOKS / "results.ipynb").read_text("utf-8"))["cells"] if c["cell_type"] == "code"]


def test_every_cell_is_short_and_has_a_result_and_every_figure_a_picture():
    figures = 0
    for cell in CELLS:
        assert len(cell["source"]) <= 3
        assert cell["outputs"]
        for output in cell["outputs"]:
            assert output["output_type"] in ("execute_result", "display_data")  # no warning, no error
            figures += "application/vnd.plotly.v1+json" in output["data"]
            assert ("application/vnd.plotly.v1+json" in output["data"]) == ("image/png" in output["data"])
    assert figures == 3


def test_every_table_of_a_benchmark_has_all_metrics():
    """But the diversity of categories, which only items with categories have."""
    conf = yaml.safe_load((NOTEBOOKS.parent / "conf/base/parameters_benchmark.yml").read_text("utf-8"))
    asked = {*conf["benchmark"]["metrics"]} - {"category_diversity_at_10"}
    tables = sorted(NOTEBOOKS.glob("tables/*_benchmark.parquet"))
    assert len(tables) > 5
    for table in tables:
        assert asked <= set(pd.read_parquet(table)["metric"]), table.name


@pytest.mark.slow
def test_the_code_makes_what_is_shown(monkeypatch, capsys):
    """Without Jupyter: the result of each cell's last line."""
    pytest.importorskip("IPython")
    monkeypatch.chdir(NOTEBOOKS)
    monkeypatch.syspath_prepend(NOTEBOOKS)
    names = {}
    with pd.option_context("display.max_columns", 20):  # as in Jupyter
        for cell in CELLS:
            *statements, last = [line.strip("\n") for line in cell["source"]]
            exec("\n".join(statements), names)
            found = eval(last, names)
            shown = cell["outputs"][0]["data"]
            if isinstance(found, pd.DataFrame):
                assert found._repr_html_() == "".join(shown["text/html"]), last
            elif found is not None:
                assert repr(found) == "".join(shown["text/plain"]), last
    sys.modules.pop("shown")
    capsys.readouterr()  # the figures
