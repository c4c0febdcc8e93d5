"""Metadata of items: read with the spelling of the interactions, refused with file, column, rule, value and way out."""

import json
import logging

import pandas as pd
import pytest

from pinet_kedro.datasets import download
from pinet_kedro.datasets.items import ItemMetadataDataset
from pinet_kedro.errors import InputError
from pinet_kedro.interactions.items import ItemColumns, describe_items, no_items, read_items

COLUMNS = ItemColumns(item="sku", title="name", categories="tags", others=("year",))
ROWS = [
    {"sku": "7", "name": "Seven", "tags": "Crime|Thriller", "year": "1995"},
    {"sku": "007", "name": " ", "tags": None, "year": None},
    {"sku": "a-1", "name": "Léon, the «Professional»", "tags": " Drama | ", "year": "1994"},
]


def write_csv(path):
    pd.DataFrame(ROWS).to_csv(path, index=False)


def write_jsonl(path):
    rows = [{**row, "tags": row["tags"] and row["tags"].split("|")} for row in ROWS]
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")


def write_parquet(path):
    rows = [{**row, "tags": row["tags"] and row["tags"].split("|")} for row in ROWS]
    pd.DataFrame(rows).to_parquet(path)


@pytest.mark.parametrize(
    ("name", "write"), [("i.csv", write_csv), ("i.jsonl", write_jsonl), ("i.parquet", write_parquet)]
)
def test_every_format_gives_the_same_table(tmp_path, name, write):
    write(tmp_path / name)
    table = read_items(tmp_path / name, COLUMNS)
    assert table["item_id"].tolist() == ["7", "007", "a-1"]
    assert table["title"].fillna("none").tolist() == ["Seven", "none", "Léon, the «Professional»"]
    assert table["categories"].tolist() == [["Crime", "Thriller"], [], ["Drama"]]
    assert table["year"].fillna("none").tolist() == ["1995", "none", "1994"]


def test_numbers_have_the_ids_that_they_have_in_the_log(tmp_path):
    pd.DataFrame({"item_id": [7.0, 12.0], "title": ["a", "b"]}).to_parquet(tmp_path / "i.parquet")
    assert read_items(tmp_path / "i.parquet", ItemColumns())["item_id"].tolist() == ["7", "12"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("sku,name\n7,a\n,b\n", ["i.csv", "'sku' (item_id), row 2", "missing", "Correct the rows"]),
        ("sku,name\n7,a\n8,b\n7.0,c\n", ["i.csv", "'sku' (item_id)", "'7'", "row 1 and of row 3", "one row per item"]),
        ("item,name\n7,a\n", ["i.csv", "'sku' (item_id)", "missing", "item, name", "item_metadata"]),
        ("sku,names\n7,a\n", ["'name' (title) is missing", "did you mean 'names'", "or null"]),
        ("sku,name\n7.5,a\n", ["'sku' (item_id), row 1", "'7.5'", "not whole"]),
    ],
)
def test_what_is_wrong_is_named(tmp_path, text, words):
    (tmp_path / "i.csv").write_text(text)
    with pytest.raises(InputError) as error:
        read_items(tmp_path / "i.csv", ItemColumns(item="sku", title="name"))
    assert all(word in str(error.value) for word in words), error.value


def test_categories_that_are_lists_in_text_are_not_taken_for_one_category_each(tmp_path):
    path = tmp_path / "items.csv"
    path.write_text("sku,tags\n1,\n2,\"['Action', 'Drama']\"\n3,['Drama']\n")
    columns = ItemColumns(item="sku", title=None, categories="tags")
    with pytest.raises(InputError, match=r"'tags' \(categories\), row 2: .* list written as text.* divided by '\|'"):
        read_items(path, columns)
    path.write_text("sku,tags\n1,[live]\n2,Drama\n")
    assert read_items(path, columns)["categories"].tolist() == [["[live]"], ["Drama"]]


def test_a_column_cannot_have_two_roles(tmp_path):
    with pytest.raises(InputError, match="declared twice"):
        read_items(tmp_path / "i.csv", ItemColumns(item="sku", title="sku"))


def test_the_share_of_items_without_metadata_is_reported_and_the_order_is_that_of_the_log(tmp_path, caplog):
    write_csv(tmp_path / "i.csv")
    with caplog.at_level(logging.INFO):
        table = describe_items(pd.Series(["a-1", "new", "7"], dtype="string"), read_items(tmp_path / "i.csv", COLUMNS))
    assert table["item_id"].tolist() == ["a-1", "new", "7"]
    assert table["title"].fillna("none").tolist() == ["Léon, the «Professional»", "none", "Seven"]
    assert table["categories"].tolist() == [["Drama"], [], ["Crime", "Thriller"]]
    assert "1 of 3 (33.3 %), such as 'new'" in caplog.text


def test_metadata_of_other_items_are_a_warning(tmp_path, caplog):
    write_csv(tmp_path / "i.csv")
    describe_items(pd.Series(["x"], dtype="string"), read_items(tmp_path / "i.csv", COLUMNS))
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_without_metadata_nothing_is_said(caplog):
    with caplog.at_level(logging.INFO):
        table = describe_items(pd.Series(["x", "y"], dtype="string"), ItemMetadataDataset().load())
    assert table["item_id"].tolist() == ["x", "y"]
    assert table["title"].isna().all()
    assert table["categories"].tolist() == [[], []]
    assert not caplog.records
    assert table.dtypes.to_dict() == no_items().dtypes.to_dict()


def test_titles_that_cannot_be_fetched_stop_nothing_and_a_changed_file_does(tmp_path, monkeypatch, caplog):
    def no_network():
        raise OSError("no route to host")

    items = download.Download("the items", "0" * 64, {"pip": no_network}, "Put them there.")
    monkeypatch.setattr("pinet_kedro.datasets.items.MOVIELENS_100K_ITEMS", items)
    source = ItemMetadataDataset(str(tmp_path / "ml-100k.item"), fetch=True)
    assert len(source.load()) == 0
    assert "no titles in this run" in caplog.text
    assert "no route to host" in caplog.text
    entry = source.entries("item_metadata")["item_metadata"]
    assert entry.stamp is None
    assert entry.contained
    write_csv(tmp_path / "ml-100k.item")
    with pytest.raises(Exception, match="not the complete the items table"):
        source.load()
