"""The start page: which pages there are, what each of them is, and when it was written."""

import logging
import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kedro.framework.hooks import hook_impl
from kedro.io import CatalogProtocol, DatasetError

from pinet_kedro.project import project_folder, written_since
from pinet_kedro.runs.paths import stored_path

log = logging.getLogger("pinet_kedro")

# Pages by their entry in the catalog: name, and what it is.
_PAGES = {
    "report": ("Report", "should PIN ship: who gains, who loses, and why, base against PIN"),
    "promotion_page": ("Promotion", "the latest decision on a champion: gates, gains by group"),
    "retraining_page": ("Retraining", "the latest one: what came in, drift, the decision"),
    "retraining.report": ("Report of retraining", "base against PIN on the log with the new files"),
    "retraining.promotion_page": ("Promotion of retraining", "the decision on the version that retraining made"),
    "refresh_page": ("Refresh", "the latest one: the decision on the champion with new counts"),
    "feedback_page": ("Feedback", "what users took of what was recommended to them, by version"),
    "replay_page": ("Replay", "a log played back through retraining, period by period"),
    "tuning_page": ("Tuning", "the trials of the study, and what they were worth on fresh seeds"),
    "benchmark_page": ("Benchmark", "methods against the reference, head and tail users"),
    "validation_results": ("Data Docs", "what the gates checked of raw and clean events"),
    "retraining.validation_results": (
        "Data Docs of retraining",
        "what the gates checked of the log with the new files",
    ),
}
# Beside the pages of each folder, so that all of them link to `index.html`.
_START_PAGES = ("start_page", "retraining.start_page")


class StartPage:
    """Writes the start page at the end of a run that has written a page, whether or not the run has failed."""

    def __init__(self) -> None:
        self._began = 0.0

    @hook_impl
    def before_pipeline_run(self) -> None:
        """Notes the time."""
        self._began = time.time()

    @hook_impl
    def after_pipeline_run(self, catalog: CatalogProtocol) -> None:
        """Writes the start page."""
        self._write(catalog)

    @hook_impl
    def on_pipeline_error(self, catalog: CatalogProtocol) -> None:
        """Writes the start page: data that are refused have Data Docs as well."""
        self._write(catalog)

    def _write(self, catalog: CatalogProtocol) -> None:
        if any(written_since(page, self._began) for page in pages(catalog).values()):
            write_start_page(catalog)


def pages(catalog: CatalogProtocol) -> dict[str, Path]:
    """The pages that are there, by their entry in the catalog."""
    places = {name: path for name in _PAGES if (path := stored_path(catalog, name)) is not None}
    files = {name: path if path.suffix else path / "index.html" for name, path in places.items()}
    return {name: path for name, path in files.items() if path.is_file()}


def write_start_page(catalog: CatalogProtocol) -> None:
    """Writes the start page beside the pages of each folder; one that cannot be written is no reason to fail."""
    from pinet_kedro.datasets.files import TextDataset  # it and plotly take a second
    from pinet_kedro.reporting.page import render

    found = pages(catalog)
    for name in _START_PAGES:
        place = stored_path(catalog, name)
        if place is not None and any(path.is_relative_to(place.parent) for path in found.values()):
            template = Path(__file__).with_name("start_page.html.j2")
            try:
                TextDataset(str(place)).save(render(template, home=None, rows=_rows(found, place.parent)))
            except (DatasetError, OSError) as error:
                log.warning("The start page %s could not be written: %s", place, error)


def list_pages(env: str | None) -> None:
    """Writes the start page outside of a run."""
    from kedro.framework.session import KedroSession

    with KedroSession.create(project_folder(), env=env) as session:
        write_start_page(session.load_context().catalog)  # type: ignore[attr-defined]


def _rows(found: dict[str, Path], folder: Path) -> list[dict[str, Any]]:
    return [
        {
            "title": _PAGES[name][0],
            "about": _PAGES[name][1],
            "link": Path(os.path.relpath(path, folder)).as_posix(),
            "written": f"{datetime.fromtimestamp(path.stat().st_mtime, UTC):%Y-%m-%d %H:%M} UTC",
        }
        for name, path in found.items()
    ]
