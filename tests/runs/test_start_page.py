"""The start page lists the pages that are there, and its links lead to them."""

import os
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from kedro.io import DataCatalog

from pinet_kedro.datasets.files import TextDataset
from pinet_kedro.runs import start_page
from pinet_kedro.runs.start_page import StartPage, write_start_page
from pinet_kedro.validation.data_docs import ValidationResultsDataset

CATALOG = yaml.safe_load((Path(__file__).parents[2] / "conf/base/catalog.yml").read_text(encoding="utf-8"))


@pytest.fixture
def catalog(tmp_path, monkeypatch):
    """The pages of conf/base, none of which is there."""
    monkeypatch.chdir(tmp_path)
    names = (*start_page._PAGES, *start_page._START_PAGES)
    kinds = {True: ValidationResultsDataset, False: TextDataset}
    return DataCatalog({n: kinds["validation_results" in n](CATALOG[n]["filepath"]) for n in names})


def put(place, time=None):
    path = Path(place)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("<p>", encoding="utf-8")
    if time:
        os.utime(path, (time, time))


def links(page):
    return re.findall('href="([^"]+)"', page.read_text(encoding="utf-8"))


def test_every_page_that_is_there_is_listed_with_its_time_and_no_other(catalog):
    put("data/08_reporting/report.html", 1_700_000_000)
    put("data/08_reporting/data_docs/index.html")
    put("data/retraining/08_reporting/report.html")
    write_start_page(catalog)
    for folder, expected in (
        ("data/08_reporting", ["report.html", "../retraining/08_reporting/report.html", "data_docs/index.html"]),
        ("data/retraining/08_reporting",
         ["../../08_reporting/report.html", "report.html", "../../08_reporting/data_docs/index.html"]),
    ):  # fmt: skip
        page = Path(folder) / "index.html"
        assert links(page) == expected
        assert all((page.parent / link).is_file() for link in expected)
        assert "2023-11-14 22:13 UTC" in page.read_text(encoding="utf-8")
        assert [path.name for path in page.parent.glob("*.part")] == []


def test_every_page_in_the_catalog_is_known():
    pages = {name for name, entry in CATALOG.items() if str((entry or {}).get("filepath", "")).endswith(".html")}
    assert pages - set(start_page._START_PAGES) <= set(start_page._PAGES)


def test_a_run_that_writes_no_page_leaves_the_start_page_alone(catalog):
    put("data/08_reporting/report.html", 1_700_000_000)
    hook = StartPage()
    hook.before_pipeline_run()
    hook.after_pipeline_run(catalog)
    assert not Path("data/08_reporting/index.html").exists()


def test_a_run_that_fails_after_it_has_written_a_page_lists_it(catalog):
    hook = StartPage()
    hook.before_pipeline_run()
    put("data/08_reporting/data_docs/index.html", datetime.now(UTC).timestamp() + 1)
    hook.on_pipeline_error(catalog)
    assert links(Path("data/08_reporting/index.html")) == ["data_docs/index.html"]


def test_a_catalog_without_these_entries_has_no_start_page():
    write_start_page(DataCatalog({}))
