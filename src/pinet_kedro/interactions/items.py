"""Titles and categories of items. Titles are for people; categories are data, too."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from pinet_kedro.configuration import Configuration, did_you_mean
from pinet_kedro.errors import InputError
from pinet_kedro.interactions.events import ColumnName, spelled
from pinet_kedro.reading.tables import read_table

log = logging.getLogger(__name__)

_SHOWN = 25  # columns in a message


class ItemColumns(Configuration):
    """Names of the columns in a file of item metadata; null: the file has no such column."""

    item: ColumnName = "item_id"
    title: ColumnName | None = "title"
    categories: ColumnName | None = None
    others: tuple[ColumnName, ...] = Field((), description="further columns, kept as text under their own names")
    separator: str = Field("|", min_length=1, description="divides the categories in a text")

    def renaming(self) -> dict[str, str]:
        """Source name -> canonical name, for the columns that are declared."""
        roles = {self.item: "item_id", self.title: "title", self.categories: "categories"}
        return {source: name for source, name in (roles | {other: other for other in self.others}).items() if source}


def no_items() -> pd.DataFrame:
    """A table of items without any."""
    return _table({"item_id": pd.array([], "string")})


def read_items(path: Path, columns: ItemColumns) -> pd.DataFrame:
    """One row per item of the file: `item_id, title, categories` (a list of texts) and the other columns.

    Ids are spelled as those of the interactions. A missing title is null; an item without categories has an empty list.
    Categories are texts that `separator` divides, or lists of such texts (JSON, Parquet).

    Raises `InputError` if the file cannot be read, lacks a declared column, has a row without an id or an id twice.
    """
    renaming = columns.renaming()
    roles = [name for name in (columns.item, columns.title, columns.categories, *columns.others) if name]
    canonical = list(renaming.values())
    if len(set(roles)) < len(roles) or len(set(canonical)) < len(canonical):
        raise InputError(f"{path}: one column of items is declared twice: {columns.model_dump()}. Name each once.")
    raw = read_table(path, list(renaming), lists=[columns.categories] if columns.categories else [])
    found: dict[str, Any] = {}
    for source, name in renaming.items():
        where = f"{path}: column {source!r}" + (f" ({name})" if name != source else "")
        if source not in raw.columns:
            raise InputError(
                f"{where} is missing; {did_you_mean(source, raw.present)}the columns are "
                f"{', '.join(raw.present[:_SHOWN])}. Name the right one in the catalog entry item_metadata, or null if "
                "the file has none."
            )
        values = raw.columns[source]
        if name == "item_id":
            found[name] = _unique(spelled(values, where), where)
        elif name == "categories":
            found[name] = _categories(values, columns.separator, where)
        else:
            found[name] = _text(values, where)
    return _table(found)


def describe_items(item_ids: pd.Series, metadata: pd.DataFrame) -> pd.DataFrame:
    """One row per item of the log, in this order, with the metadata that there is.

    The share of items without metadata is logged; without any metadata there is nothing to log.
    """
    missing = item_ids[~item_ids.isin(metadata["item_id"])]
    if len(metadata):
        percent = 100 * len(missing) / len(item_ids)
        note = f" ({percent:.1f} %), such as {missing.iloc[0]!r}; they are shown by their ids" if len(missing) else ""
        level = logging.WARNING if percent == 100 else logging.INFO
        log.log(level, "Items of the log without metadata: %s of %s%s", f"{len(missing):,}", f"{len(item_ids):,}", note)
    items = pd.DataFrame({"item_id": item_ids}).merge(metadata, "left", "item_id", validate="one_to_one")
    items["categories"] = [value if isinstance(value, list) else [] for value in items["categories"]]
    return items


def items_without_events(item_ids: pd.Index, metadata: pd.DataFrame) -> pd.Index:
    """Ids of the metadata that are not among those of the log, sorted as strings; logs how many there are.

    Raises `InputError` without metadata.
    """
    if metadata.empty:
        raise InputError(
            "cleaning.items_without_events = true, but there is no table of items. Name one in the catalog entry "
            "item_metadata (--params=…,metadata=… in the environments csv, duckdb and spark), or set the parameter to "
            "false."
        )
    more = pd.Index(np.sort(metadata.loc[~metadata["item_id"].isin(item_ids), "item_id"].astype(object)))
    log.info(
        "Items of item_metadata without events are candidates, too: %s beside the %s of the log",
        f"{len(more):,}", f"{len(item_ids):,}",
    )  # fmt: skip
    return more


def categories_of(item_ids: pd.Series, metadata: pd.DataFrame) -> pd.Series | None:
    """The list of categories of each of these items, empty where the metadata have none; None if no item has any."""
    known = dict(zip(metadata["item_id"], metadata["categories"], strict=True))
    listed = pd.Series([known.get(item, []) for item in item_ids], item_ids.index, object)
    return listed if listed.map(len).any() else None


def _table(found: dict[str, Any]) -> pd.DataFrame:
    rows = len(found["item_id"])
    absent = {"title": pd.array([None] * rows, "string"), "categories": [[] for _ in range(rows)]}
    table = pd.DataFrame({"item_id": found["item_id"], **absent} | found)
    return table.astype({"item_id": "string", "title": "string", "categories": object})


def _unique(ids: Any, where: str) -> Any:
    """The ids. Raises `InputError` if one is missing or occurs twice; rows are counted from 1."""
    series = pd.Series(ids)
    if (missing := series.isna()).any():
        raise InputError(
            f"{where}, row {int(missing.argmax()) + 1}: the id is missing ({int(missing.sum()):,} rows have none); "
            "every item needs one. Correct the rows or remove them."
        )
    if (again := series.duplicated()).any():
        row = int(again.argmax())
        first = int((series == series.iloc[row]).argmax())
        raise InputError(
            f"{where}: {series.iloc[row]!r} is the id of row {first + 1} and of row {row + 1} "
            f"({int(again.sum()):,} rows repeat an id); ids must be unique. Keep one row per item."
        )
    return ids


def _text(values: pa.ChunkedArray, where: str) -> Any:
    """The values as text without surrounding white space; blank ones are null."""
    try:
        text = pc.utf8_trim_whitespace(_plain(values).cast(pa.string()))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise InputError(
            f"{where} holds values of type {values.type}, which are not text. Name another column, or null."
        ) from error
    dtype: Any = pd.StringDtype()  # missing in pandas' type stubs
    return dtype.__from_arrow__(pc.if_else(pc.equal(text, ""), None, text))


def _categories(values: pa.ChunkedArray, separator: str, where: str) -> list[list[str]]:
    values = _plain(values)
    if pa.types.is_list(values.type) or pa.types.is_large_list(values.type):
        groups = [[str(entry) for entry in entries or () if entry is not None] for entries in values.to_pylist()]
    else:
        texts = pd.Series(_text(values, where))
        lists = texts[texts.str.fullmatch(r"\[.*\]").fillna(False)]
        if len(lists) and len(lists) == texts.count():
            raise InputError(
                f"{where}, row {lists.index[0] + 1}: {lists.iloc[0][:60]!r} is a list written as text, as in all rows. "
                f"Write texts divided by {separator!r}, or lists in JSON lines or Parquet."
            )
        groups = [[text] if isinstance(text, str) else [] for text in texts.tolist()]
    return [[part.strip() for text in group for part in text.split(separator) if part.strip()] for group in groups]


def _plain(values: pa.ChunkedArray) -> pa.ChunkedArray:
    return values.cast(values.type.value_type) if pa.types.is_dictionary(values.type) else values
