"""One spelling per id, in every format and in a request."""

import decimal
import math

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from pinet_kedro.errors import InputError
from pinet_kedro.interactions.events import Columns, read_interactions
from pinet_kedro.interactions.ids import spell, spell_ids

SPELLINGS = {
    "7": "7", "7.0": "7", "7.00": "7", "7.": "7", " 7 ": "7", "-7.0": "-7", "0.0": "0", "120.0": "120",
    "007": "007", "007.0": "007.0", "1e3": "1e3", "v1.0": "v1.0", "1.0.0": "1.0.0", "ä b": "ä b", "NA": "NA",
    "a.b": "a.b", "nan": "nan", "12345678901234567890": "12345678901234567890",
}  # fmt: skip


def column(*values, kind=None):
    return pa.chunked_array([pa.array(values, kind)])


def spelled(*values, kind=None):
    return spell(column(*values, kind=kind), "log.csv: column 'id'").to_pylist()


def test_a_column_and_a_request_spell_ids_the_same_way():
    assert spelled(*SPELLINGS) == list(SPELLINGS.values())
    assert spell_ids(SPELLINGS) == list(SPELLINGS.values())


def test_numbers_in_a_request_become_text():
    assert spell_ids([7, 7.0, "7.0", -3, 2**60]) == ["7", "7", "7", "-3", str(2**60)]


@pytest.mark.parametrize("value", [None, True, [7], {"a": 7}, 7.5, math.nan, math.inf, 1e18])
def test_a_value_that_is_not_an_id_is_refused_in_a_request(value):
    with pytest.raises(InputError, match="is not an id"):
        spell_ids(["a", value])


TYPES = {
    "integers": column(7, None, 12),
    "unsigned": column(7, None, 12, kind=pa.uint64()),
    "floats": column(7.0, None, 12.0),
    "halves": pa.chunked_array([pa.array([7.0, None, 12.0]).cast(pa.float16())]),
    "decimals": column(decimal.Decimal("7.00"), None, decimal.Decimal("12.00")),
    "text": column("7", None, "12"),
    "long text": column("7.0", None, "12.0", kind=pa.large_string()),
    "viewed text": column("7.0", None, "12.0", kind=pa.string_view()),
    "bytes": column(b"7", None, b"12"),
    "categories": pa.chunked_array([column("7", None, "12").chunk(0).dictionary_encode()]),
    "several chunks": pa.chunked_array([pa.array(["7.0", None]), pa.array(["12"])]),
    "a slice": pa.chunked_array([pa.array(["x", "7.0", "", "12", "7.5"]).slice(1, 3)]),
}


@pytest.mark.parametrize("case", TYPES)
def test_all_column_types_spell_ids_the_same_way(case):
    assert spell(TYPES[case], "x").to_pylist() == ["7", None, "12"]


def test_blank_ids_are_missing():
    assert spelled("a", "  ", "", None) == ["a", None, None, None]
    assert spelled("", None) == [None, None]


NO_IDS = {
    "booleans": (column(True, False), "bool"),
    "lists": (column([1], [2]), "list"),
    "structs": (column({"a": 1}), "struct"),
    "dates": (column(pd.Timestamp("2020-01-01")), "timestamp"),
    "raw bytes": (column(b"\xff\xfe"), "binary"),
    "NaN": (column(7.0, math.nan), "row 2: nan"),
    "infinity": (column(7.0, math.inf), "row 2: inf"),
    "fractions": (column(7.0, 7.5), "row 2: 7.5"),
    "floats that lost digits": (column(1.0, 2.0**53), "row 2: 9007199254740992"),
    "floats of 32 bits that did": (
        pa.chunked_array([np.array([16_777_215, 16_777_217], np.float32)]),
        "16777216 is not an id: an id is text or a whole number, and a floating-point number of 32 bits has lost",
    ),
    "fractions in text": (column("7", "7.5"), "row 2: '7.5'"),
    "NaN in text": (column("7", "nan", "8"), "row 2: 'nan'"),
    "infinity in text": (column("7", "8", "-Infinity"), "row 3"),
    "lost digits in text": (column("a", "1.2345678901234567e+18"), "row 2"),
    "lost digits and a point": (column("a", "9007199254740992.0"), "row 2"),
    "lost digits without a point": (column("a", "1e+16"), "row 2"),
    "line breaks": (column("a", "b\nc"), "row 2"),
    "control characters": (column("a", "b\x00c"), "row 2"),
    "separators of lines": (column("a", "b\u2028c"), "row 2"),
}


@pytest.mark.parametrize("case", NO_IDS)
def test_a_value_that_is_not_an_id_is_refused_with_its_row(case):
    values, words = NO_IDS[case]
    with pytest.raises(InputError, match=r"^log\.csv: column 'id'") as error:
        spell(values, "log.csv: column 'id'")
    assert words in str(error.value)


def test_versions_and_names_that_look_like_numbers_are_ids():
    assert spelled("1.10", "1.1", "beta") == ["1.10", "1.1", "beta"]
    assert spelled("nan", "Nan", "inf") == ["nan", "Nan", "inf"]


def test_ids_with_several_spellings_are_counted_in_the_log(caplog):
    assert spelled("7", "7.0", " 8", "9", "8") == ["7", "7", "8", "9", "8"]
    assert "2 ids are written in more than one way, such as '7' and '7.0'" in caplog.text


def test_one_id_has_one_spelling_in_all_formats(tmp_path):
    frame = pd.DataFrame({"user_id": [7.0, 12.0, 7.0], "item_id": [1, 2, 3], "timestamp": 1_600_000_000})
    frame.to_csv(tmp_path / "log.csv", index=False)
    frame.to_csv(tmp_path / "log.tsv", index=False, sep="\t")
    frame.to_json(tmp_path / "log.jsonl", orient="records", lines=True)
    frame.to_parquet(tmp_path / "log.parquet")
    (tmp_path / "text.jsonl").write_text('{"user_id": "7.0"}\n{"user_id": 12}\n{"user_id": 7.0}')
    for name in ("log.csv", "log.tsv", "log.jsonl", "log.parquet", "text.jsonl"):
        assert read_interactions(tmp_path / name, Columns()).events["user_id"].tolist() == ["7", "12", "7"]


@pytest.mark.parametrize("name", ["log.csv", "log.jsonl", "log.parquet"])
def test_a_missing_numeric_id_does_not_change_the_others(tmp_path, name):
    frame = pd.DataFrame({"user_id": [7.0, None, 12.0], "item_id": [1, 2, 3], "timestamp": [1, 2, 3]})
    if name.endswith("csv"):
        frame.to_csv(tmp_path / name, index=False)
    elif name.endswith("jsonl"):
        frame.to_json(tmp_path / name, orient="records", lines=True)
    else:
        frame.to_parquet(tmp_path / name)
    events = read_interactions(tmp_path / name, Columns()).events
    assert events["user_id"].isna().tolist() == [False, True, False]
    assert events["user_id"].dropna().tolist() == ["7", "12"]


def test_long_numeric_ids_keep_all_digits(tmp_path):
    great = "12345678901234567890123"
    (tmp_path / "log.jsonl").write_text(f'{{"user_id": {great}}}\n{{"user_id": {great[:-1]}4}}')
    assert read_interactions(tmp_path / "log.jsonl", Columns()).events["user_id"].tolist() == [great, f"{great[:-1]}4"]
