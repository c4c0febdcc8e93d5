"""All formats give the same events; a wrong file is refused with its name, the line and a way to correct it."""

import bz2
import gzip
import json
import lzma

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pinet_kedro.errors import InputError
from pinet_kedro.interactions.events import Columns, read_interactions

# Out of order, with ties; ids that must not become numbers; a quoted comma; 2020-09-13 12:26:40 UTC and later.
ROWS = pd.DataFrame(
    {
        "who": ["007", "7", "007", "ä b", "7"],
        "what": ["1e3", "x,y", "01", "1e3", "01"],
        "when": [1_600_000_060, 1_600_000_000, 1_600_000_060, 1_600_000_007, 1_600_003_600],
        "stars": [5.0, 3.5, 1.0, 4.0, 2.0],
        "unused": ["a", "b", "c", "d", "e"],
    }
)
COLUMNS = Columns(user="who", item="what", timestamp="when", rating="stars")
EVENTS = Columns()
WRITERS = {
    "log.csv": lambda f, path: f.to_csv(path, index=False),
    "log.CSV": lambda f, path: f.to_csv(path, index=False),
    "v1.2.log.csv": lambda f, path: f.to_csv(path, index=False),
    "dos.csv": lambda f, path: f.to_csv(path, index=False, lineterminator="\r\n"),
    "mac.csv": lambda f, path: f.to_csv(path, index=False, lineterminator="\r"),
    "mark.csv": lambda f, path: f.to_csv(path, index=False, encoding="utf-8-sig"),
    "wide.csv": lambda f, path: f.to_csv(path, index=False, encoding="utf-16"),
    "log.tsv": lambda f, path: f.to_csv(path, index=False, sep="\t"),
    "log.inter": lambda f, path: f.to_csv(path, index=False, sep="\t"),
    "log.csv.gz": lambda f, path: f.to_csv(path, index=False),
    "log.tsv.gz": lambda f, path: f.to_csv(path, index=False, sep="\t"),
    "log.csv.bz2": lambda f, path: path.write_bytes(bz2.compress(f.to_csv(index=False).encode())),
    "log.csv.xz": lambda f, path: path.write_bytes(lzma.compress(f.to_csv(index=False).encode())),
    "log.csv.zst": lambda f, path: path.write_bytes(zstd(f.to_csv(index=False).encode())),
    "log.jsonl": lambda f, path: f.to_json(path, orient="records", lines=True),
    "log.jsonl.gz": lambda f, path: f.to_json(path, orient="records", lines=True),
    "mark.jsonl": lambda f, path: path.write_text(f.to_json(orient="records", lines=True), encoding="utf-8-sig"),
    "gaps.jsonl": lambda f, path: path.write_text("\n" + f.to_json(orient="records", lines=True).replace("\n", "\n\n")),
    "array.json": lambda f, path: f.to_json(path, orient="records"),
    "pretty.json": lambda f, path: f.to_json(path, orient="records", indent=2),
    "array.jsonl": lambda f, path: f.to_json(path, orient="records"),
    "log.parquet": lambda f, path: f.to_parquet(path),
    "log.PARQUET": lambda f, path: f.to_parquet(path),
    "log.parquet.gz": lambda f, path: path.write_bytes(gzip.compress(f.to_parquet())),
}


def zstd(content):
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(content)
    return sink.getvalue().to_pybytes()


def written(tmp_path, frame, name="log.csv"):
    WRITERS[name](frame, tmp_path / name)
    return tmp_path / name


def read_text(tmp_path, name, content, columns=EVENTS):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_interactions(path, columns).events


def refusal(tmp_path, name, content, columns=EVENTS):
    with pytest.raises(InputError) as error:
        read_text(tmp_path, name, content, columns)
    message = str(error.value)
    assert message.startswith(f"{tmp_path / name}: ")
    assert len(message) < 800
    return message


@pytest.mark.parametrize("name", WRITERS)
def test_all_formats_give_the_same_events(tmp_path, name):
    path = written(tmp_path, ROWS, name)
    interactions = read_interactions(path, COLUMNS)
    events, origin = interactions.events, interactions.origin
    assert events.columns.tolist() == ["user_id", "item_id", "timestamp", "rating"]
    assert events["user_id"].tolist() == ROWS["who"].tolist()
    assert events["item_id"].tolist() == ROWS["what"].tolist()
    assert events["timestamp"].tolist() == (ROWS["when"] * 10**9).tolist()
    assert events["rating"].tolist() == ROWS["stars"].tolist()
    assert events.dtypes.astype(str).tolist() == ["string", "string", "Int64", "float64"]
    assert origin.file == str(path)
    assert origin.present == ROWS.columns.tolist()
    assert origin.columns == {"user_id": "who", "item_id": "what", "timestamp": "when", "rating": "stars"}
    assert origin.unreadable == []
    assert origin.clock


def test_a_line_of_separators_alone_is_a_row_whose_values_are_missing(tmp_path):
    (tmp_path / "log.tsv").write_text("user_id\titem_id\ttimestamp\nu\ta\t1600000000\n\t\t\n\n")
    assert read_interactions(tmp_path / "log.tsv", Columns()).events.isna().all(axis=1).tolist() == [False, True]


def test_blanks_around_the_names_of_columns_do_not_count(tmp_path):
    """They could not be said on the command line, which cuts them off."""
    (tmp_path / "log.csv").write_text("user_id, item_id , timestamp, x ,x\nu, a, 1600000000,1,2\n")
    found = read_interactions(tmp_path / "log.csv", Columns(rating="x"))
    assert found.origin.present == ["user_id", "item_id", "timestamp", " x ", "x"]
    assert found.events.to_numpy().tolist() == [["u", "a", 1600000000 * 10**9, 2.0]]
    found = read_interactions(tmp_path / "log.csv", Columns(timestamp=" timestamp", rating=" x "))
    assert found.events["rating"].tolist() == [1.0]


def test_a_missing_column_is_left_out_and_the_gate_gets_the_names(tmp_path):
    found = read_interactions(written(tmp_path, ROWS), Columns(user="who", item="what", timestamp="time"))
    assert found.events.columns.tolist() == ["user_id", "item_id"]
    assert found.origin.columns["timestamp"] == "time"
    assert "when" in found.origin.present


@pytest.mark.parametrize("name", ["log.tsv", "log.inter"])
def test_quotation_marks_are_ordinary_characters_in_tsv(tmp_path, name):
    text = 'user_id\titem_id\ttimestamp\nu\t"Heroes"\t1600000000\nv\t"Heroes\t1600000001\nw\t12" LP"\t1600000002\n'
    events = read_text(tmp_path, name, text)
    assert events["item_id"].tolist() == ['"Heroes"', '"Heroes', '12" LP"']


def test_quoted_csv_values_may_contain_commas_quotation_marks_and_line_breaks(tmp_path):
    text = (
        'user_id,item_id,timestamp,review\nu,"x,""y""",1600000000,"fine,\nso, so, and 5, 6\nend"\nv,z,1600000001,bad\n'
    )
    events = read_text(tmp_path, "log.csv", text)
    assert events["item_id"].tolist() == ['x,"y"', "z"]
    assert events["user_id"].tolist() == ["u", "v"]


HEAD = "user_id,item_id,timestamp\n"
FULL = "".join(f"u{n},i{n},160000000{n}\n" for n in range(6))
STRAY = {
    "in an id": (HEAD + 'u,"Heroes,1600000000\nv,y,1600000001\nw,LP 12",1600000002\n', "line 3 lies between"),
    "in a column that nobody reads": (
        "user_id,item_id,timestamp,title\n"
        'u,x,1600000000,"Heroes\nv,y,1600000001,Low\nw,z,1600000002,LP 12"\nq,q,1600000003,Lodger\n',
        "line 3 lies between quotation marks that open in line 2",
    ),
    "twice": (
        'user_id,item_id,timestamp,title\nu,x,1600000000,"Heroes\nv,y,1600000001,"Heroes\nw,z,1600000002,Low\n',
        "a quotation mark in line 2 or after it is out of place",
    ),
    "to the end": (HEAD + FULL + 'u,"x,1600000000\n' + FULL, "line 8"),
}


@pytest.mark.parametrize("case", STRAY)
def test_a_stray_quotation_mark_is_refused_before_it_hides_events(tmp_path, case):
    text, words = STRAY[case]
    assert words in refusal(tmp_path, "log.csv", text)


RAGGED = {
    "surplus.csv": (HEAD + FULL + "v,Tyler, The Creator,1600000000\n", ["line 8", "4 fields", "3", "quotation marks"]),
    "last.csv": ("timestamp,user_id,item_id\n1600000000,v,Earth, Wind\n", ["line 2", "4 fields", "Earth, Wind"]),
    "short.csv": (HEAD + FULL + "v,x", ["line 8", "2 fields"]),
    "begins as another.csv": (HEAD + FULL + FULL.splitlines()[0].rpartition(",")[0] + "\n", ["line 8", "cut off"]),
    "blank.csv": (HEAD + "\n\n" + FULL + "v,x\n" + FULL, ["line 10", "2 fields"]),
    "header.csv": ("user_id,item_id\n" + FULL, ["line 2", "3 fields where the header has 2"]),
    "surplus.tsv": ("user_id\titem_id\ttimestamp\nu\ti\t1600000000\t5\n", ["line 2", "4 fields", "tab"]),
    "short.inter": ("user_id\titem_id\ttimestamp\nu\ti\n", ["line 2", "2 fields"]),
}


def assert_refused(tmp_path, name, content, words):
    message = refusal(tmp_path, name, content)
    for word in words:
        assert word in message


@pytest.mark.parametrize("name", RAGGED)
def test_a_row_with_a_wrong_number_of_fields_is_refused_with_its_line(tmp_path, name):
    assert_refused(tmp_path, name, *RAGGED[name])


REFUSED = {
    "folder of a name.csv": (HEAD.replace(",", ";") + "u;i;1\n", ["semicolon", "comma"]),
    "tabs.csv": (HEAD.replace(",", "\t") + "u\ti\t1\n", ["tab", "Rename it to .tsv"]),
    "commas.tsv": (HEAD + "u,i,1\n", ["comma", "Rename it to .csv"]),
    "twice.csv": ("user_id,item_id,timestamp,user_id\nu,i,1,v\n", ["2 columns are called 'user_id'"]),
    "latin.csv": ((HEAD + "u,i,1\nä,i,2\n").encode("latin-1"), ["line 3 is not UTF-8", "0xe4", "iconv"]),
    "latin_header.csv": ("bénutzer,item_id\n".encode("latin-1"), ["line 1 is not UTF-8"]),
    "latin.jsonl": ('{"user_id": "u"}\n{"user_id": "ä"}'.encode("latin-1"), ["line 2 is not UTF-8"]),
    "zero.csv": (HEAD + "u,i\0,1\n", ["line 2 has a NUL byte"]),
    "wide.csv": ((HEAD + "u,i,1\n").encode("utf-16-le"), ["line 1 has a NUL byte"]),
    "sheet.csv": (b"PK\x03\x04 and so on", ["zip archive"]),
    "zipped.csv": (gzip.compress(HEAD.encode()), ["gzip"]),
    "blank.csv": (b"\n\r\n", ["empty"]),
    "list.jsonl": ('{"user_id": "u"}\n["u", "i", 1]\n', ["line 2 is not a JSON object but [\"u\", \"i\", \"1\"]"]),
    "lists.json": ('[["u", "i", 1]]', ["entry 1 of the JSON array is not an object"]),
    "broken.jsonl": ('{"user_id": "u"}\n{"user_id": \n', ["line 2 is not a JSON object"]),
    "twice.jsonl": ('{"user_id": "u", "user_id": "v"}\n', ["line 1", "'user_id' is there twice"]),
    "joined.jsonl": ('{"user_id": "u"}, {"user_id": "v"}\n', ["line 1 is not a JSON object"]),
    "cut.json": ('[{"user_id": "u"}, {"user', ["begins like a JSON array"]),
    "deep.json": ("[" * 100_000, ["cannot be read"]),
    "nan.jsonl": ('{"user_id": "u"}\n{"user_id": NaN}\n', ["'user_id', row 2: nan is neither text nor a number"]),
    "bool.jsonl": ('{"user_id": true}\n', ["row 1: true is neither"]),
    "nested.jsonl": ('{"user_id": {"id": 1}}\n', ['row 1: {"id": "1"} is neither']),
    "listed.jsonl": ('{"user_id": [1, 2]}\n', ['row 1: ["1", "2"] is neither']),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_an_unreadable_file_is_refused_in_a_sentence(tmp_path, name):
    assert_refused(tmp_path, name, *REFUSED[name])


def test_wrappers_of_extended_json_are_removed(tmp_path):
    lines = [
        {"user_id": {"$oid": "5f"}, "item_id": {"$numberLong": "7"}, "timestamp": {"$date": "2020-09-13T12:26:40.5Z"}},
        {"user_id": {"$oid": "60"}, "item_id": 7, "timestamp": {"$date": "2020-09-13T12:26:41Z"}},
    ]
    events = read_text(tmp_path, "log.jsonl", "\n".join(map(json.dumps, lines)))
    assert events["user_id"].tolist() == ["5f", "60"]
    assert events["item_id"].tolist() == ["7", "7"]
    assert events["timestamp"].tolist() == [1_600_000_000_500_000_000, 1_600_000_001_000_000_000]
    old = '{"user_id": 1, "item_id": 2, "timestamp": {"$date": {"$numberLong": "1600000000500"}}}'
    assert read_text(tmp_path, "log.jsonl", old)["timestamp"].tolist() == [1_600_000_000_500_000_000]


def test_keys_may_be_missing_in_some_lines_of_json(tmp_path):
    text = '{"item_id": "i", "timestamp": 1600000000}\n{"user_id": "u", "item_id": "j", "timestamp": null}\n'
    (tmp_path / "log.jsonl").write_text(text)
    found = read_interactions(tmp_path / "log.jsonl", EVENTS)
    events = found.events
    assert events["user_id"].isna().tolist() == [True, False]
    assert events["timestamp"].isna().tolist() == [False, True]
    assert found.origin.present == ["item_id", "timestamp", "user_id"]


def test_a_pandas_index_is_a_column(tmp_path):
    frame = ROWS.set_index(["who", "what"])
    events = read_interactions(written(tmp_path, frame, "log.parquet"), COLUMNS).events
    assert events["user_id"].tolist() == ROWS["who"].tolist()
    assert events["item_id"].tolist() == ROWS["what"].tolist()


@pytest.mark.parametrize("name", ["log.csv", "log.jsonl", "log.parquet"])
def test_column_names_may_be_numbers(tmp_path, name):
    frame = ROWS.set_axis(range(5), axis=1)
    events = read_interactions(written(tmp_path, frame, name), Columns(user=0, item=1, timestamp=2)).events
    assert events["user_id"].tolist() == ROWS["who"].tolist()


@pytest.mark.parametrize("name", ["log.csv", "log.tsv", "log.parquet"])
def test_a_table_without_rows_keeps_its_columns(tmp_path, name):
    events = read_interactions(written(tmp_path, ROWS.iloc[:0], name), COLUMNS).events
    assert events.columns.tolist() == ["user_id", "item_id", "timestamp", "rating"]
    assert len(events) == 0


def test_a_duplicate_parquet_column_is_refused(tmp_path):
    columns = [pa.array(["u"]), pa.array(["i"]), pa.array([1]), pa.array(["v"])]
    table = pa.Table.from_arrays(columns, names=["user_id", "item_id", "timestamp", "user_id"])
    pq.write_table(table, tmp_path / "log.parquet")
    with pytest.raises(InputError, match="2 columns are called 'user_id'"):
        read_interactions(tmp_path / "log.parquet", EVENTS)


def test_no_row_is_lost_in_a_long_file(tmp_path):
    count = 120_000
    frame = pd.DataFrame({"user_id": np.arange(count), "item_id": "i", "timestamp": 1_600_000_000 + np.arange(count)})
    for name in ("log.csv", "log.jsonl"):
        events = read_interactions(written(tmp_path, frame, name), EVENTS).events
        assert (events["user_id"].astype("int64") == frame["user_id"]).all()
        assert (events["timestamp"] == frame["timestamp"] * 10**9).all()


def _flipped(content: bytes, at: slice) -> bytes:
    broken = bytearray(content)
    broken[at] = bytes(255 - b for b in broken[at])
    return bytes(broken)


LONG = pd.concat([ROWS] * 200, ignore_index=True).assign(when=np.arange(1000) * 7919 % 10007)
ZIPPED = gzip.compress(LONG.to_csv(index=False).encode())
PARQUET = LONG.to_parquet()
BROKEN = {
    "empty.csv": b"",
    "blank.csv": b"\n\n",
    "empty.csv.gz": gzip.compress(b""),
    "no_ending": b"who,what,when\n",
    "sheet.xlsx": b"PK",
    "plain.csv.gz": b"who,what,when\n",
    "header.csv.gz": _flipped(ZIPPED, slice(0, 2)),
    "body.csv.gz": _flipped(ZIPPED, slice(100, 200)),
    "checksum.csv.gz": _flipped(ZIPPED, slice(-6, -5)),
    "truncated.csv.gz": ZIPPED[: len(ZIPPED) // 2],
    "truncated.csv.zst": zstd(LONG.to_csv(index=False).encode())[:500],
    "text.parquet": b"who,what,when\n",
    "truncated.parquet": PARQUET[: len(PARQUET) // 2],
    "footer.parquet": _flipped(PARQUET, slice(-60, -20)),
    "garbage.jsonl": b'{"who": 1,\nnonsense',
    "cut.csv": ROWS.to_csv(index=False).encode("utf-16")[:-1],
    "quote.csv": b'who,what,when\n"1,2,3\n1,2,3\n',
    "body.csv.xz": b"\xfd7zXZ\x00" + bytes(50),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_damaged_file_is_an_input_error_that_names_it(tmp_path, name):
    (tmp_path / name).write_bytes(BROKEN[name])
    with pytest.raises(InputError, match=name):
        read_interactions(tmp_path / name, COLUMNS)


def test_every_corrupted_byte_of_a_gzip_is_an_input_error(tmp_path):
    path = tmp_path / "log.csv.gz"
    for at in range(10, len(ZIPPED), len(ZIPPED) // 40):
        path.write_bytes(_flipped(ZIPPED, slice(at, at + 8)))
        with pytest.raises(InputError, match=r"log\.csv\.gz"):
            read_interactions(path, COLUMNS)


def test_missing_file_and_empty_folder_are_input_errors_that_name_them(tmp_path):
    for path, why in ((tmp_path / "nowhere.csv", "no such file"), (tmp_path, "the folder has no files")):
        with pytest.raises(InputError, match=f"{path}: {why}"):
            read_interactions(path, COLUMNS)


def test_a_column_with_two_roles_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match="declared twice"):
        read_interactions(written(tmp_path, ROWS), Columns(user="who", item="who", timestamp="when"))
