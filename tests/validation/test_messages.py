"""Rows in messages are those of the source: file, number, and every digit."""

import pandas as pd
import pytest

from pinet_kedro.interactions.events import Columns, read_interactions
from pinet_kedro.validation.messages import Wording


def test_files_of_one_name_are_told_apart(tmp_path):
    for name in ("day=1/part-0.csv", "day=2/part-0.csv", "day=2/part-1.csv"):
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text("user_id,item_id,timestamp\nu,a,1600000000\n")
    place = read_interactions(tmp_path, Columns()).origin.place
    assert [place(row) for row in (1, 2, 3)] == [
        f"{tmp_path}/day=1/part-0.csv, row 1", f"{tmp_path}/day=2/part-0.csv, row 1", "part-1.csv, row 1",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("unit", "time", "told"),
    [
        ("ns", "1600000000123456789", "1600000000123456789 ns (2020-09-13 12:26:40.123456789)"),
        ("us", "1600000000123456.789", "1600000000123456.789 us (2020-09-13 12:26:40.123456789)"),
        ("s", "-1.5", "-1.5 s (1969-12-31 23:59:58.5)"),
        ("order", "123456789012345678", "123456789012345678"),
    ],
)
def test_a_time_is_shown_with_the_digits_that_the_source_has(tmp_path, unit, time, told):
    (tmp_path / "log.csv").write_text(f"user_id,item_id,timestamp\nu,a,{time}\n")
    found = read_interactions(tmp_path / "log.csv", Columns(), unit)
    frame = found.events.set_axis(pd.RangeIndex(1, 2), axis=0)
    assert Wording(found).row(frame, 1, "events") == f"row 1: user_id='u', item_id='a', timestamp={told}"
