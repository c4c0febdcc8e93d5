"""Data Docs: the latest result of every suite as JSON and as pages that need no network."""

import json
import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kedro.io import AbstractDataset, DatasetError

from pinet_kedro.datasets.files import TextDataset
from pinet_kedro.project import project_folder
from pinet_kedro.validation.checks import Checked, error_of, in_order
from pinet_kedro.validation.messages import Wording, short, threshold
from pinet_kedro.validation.suites import columns_of

log = logging.getLogger(__name__)

DATA_DOCS = "data/08_reporting/data_docs"


def data_docs_index(data_docs: str | Path = DATA_DOCS) -> Path:
    """Page that lists the latest result of every suite, in the project's folder."""
    return project_folder() / data_docs / "index.html"


class ValidationResultsDataset(AbstractDataset[None, list[dict[str, Any]]]):
    """The latest result of every suite, as the gates of the catalog have left them in the folder of their Data Docs."""

    def __init__(self, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        self._filepath = Path(filepath)
        self.metadata = metadata

    def load(self) -> list[dict[str, Any]]:
        """One dictionary a suite: `suite, success, checked`, and `content` of stored data; empty before any check."""
        return [json.loads(path.read_text("utf-8")) for path in sorted(self._filepath.glob("*/result.json"))]

    def save(self, data: None) -> None:  # noqa: ARG002
        raise DatasetError("results of validation are written by the gates of the catalog")

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath)}

    def _exists(self) -> bool:
        return True  # without a result the gate on validation says what to do


class DataDocs:
    """The pages of one suite, in a folder of their own below `folder`, and the index of all suites."""

    def __init__(self, folder: str | Path, suite: str) -> None:
        self._index = data_docs_index(folder)
        self._folder = self._index.parent / Path(suite).stem

    def record(self, content: str) -> None:
        """Adds the sha256 of what was stored of the data that passed last: the registry asks which data those were.

        A result that has one is of other data: what is stored now was not checked, as where validation is switched off.
        """
        path = self._folder / "result.json"
        if path.exists():  # Data Docs may not have been writable
            outcome = json.loads(path.read_text(encoding="utf-8"))
            if "content" not in outcome:
                TextDataset(str(path)).save(json.dumps({**outcome, "content": content}, indent=1))

    def write(self, checked: list[Checked], message: str, wording: Wording) -> str:
        """Where the pages are, in words. A page that cannot be written is no reason to refuse good data."""
        index, folder = self._index, self._folder
        outcome = {
            "suite": folder.name,
            "success": all(part.result.success for part in checked),
            "checked": f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC",
            "message": message,
        }
        stored = {**outcome, "tables": [part.result.to_json_dict() for part in checked]}
        tables = [_table(part, wording) for part in checked]
        # The report on a rejected file is beside that file, far from the start page.
        home = "../index.html" if index.parent.name == Path(DATA_DOCS).name else None
        try:
            TextDataset(str(folder / "result.json")).save(json.dumps(stored, indent=1))
            page = _page("data_docs_suite.html.j2", home and f"../{home}", outcome=outcome, tables=tables)
            TextDataset(str(folder / "index.html")).save(page)
            latest = ValidationResultsDataset(str(index.parent)).load()
            TextDataset(str(index)).save(_page("data_docs.html.j2", home, outcomes=latest))
        except (DatasetError, OSError, ValueError) as error:
            log.warning("Data Docs could not be written to %s: %s", index.parent, short(error, 200))
            return f"Data Docs could not be written to {index.parent}."
        return f"Data Docs: {index}"


def _table(checked: Checked, wording: Wording) -> dict[str, Any]:
    """A table's rules as its page shows them, in the order of the suite."""
    rules = [_rule(rule, checked, wording) for rule in in_order(checked.result.results, checked.suite)]
    return {"name": checked.result.suite_name, "rules": rules}


def _rule(rule: Any, checked: Checked, wording: Wording) -> dict[str, Any]:
    """One rule as its page shows it: what was observed, and the first of the rows that break it."""
    config, found, table = rule.expectation_config, rule.result, checked.table
    count = found.get("unexpected_count", 0)
    if error := error_of(rule):
        observed = f"cannot be checked: {short(error, 200)}"
    elif "unexpected_count" in found:
        of = f"{found['element_count']:,} {'rows' if table == 'events' else table}"
        observed = f"{count:,} of {of} break it" if count else f"holds for all {of}"
    else:
        observed = short(found.get("observed_value", "–"), 200)
    return {
        "passed": rule.success,
        "text": config.description or config.type.replace("_", " "),
        "columns": ", ".join(map(wording.name, columns_of(config.kwargs))),
        "threshold": threshold(rule, table, wording.clock),
        "observed": observed,
        "count": count,
        "rows": [wording.row(checked.frame, row, table) for row in found.get("unexpected_index_list", ())],
    }


def _page(template: str, home: str | None, **values: Any) -> str:
    from pinet_kedro.reporting.page import render  # plotly's import takes half a second

    return render(Path(__file__).with_name(template), home=home, **values)
