"""When the files of this machine count as unchanged, without being read."""

import os

import pytest

from pinet_kedro.sources.raw_files import RawFiles


@pytest.fixture
def known(tmp_path):
    """The files of a folder, and their stamp."""
    for number, name in enumerate("abc"):
        write(tmp_path / f"{name}.csv", name * 4, 100 + number)
    files = RawFiles(tmp_path)
    return files, files.stamped(None)


def write(path, content, time):
    path.write_text(content)
    os.utime(path, (time, time))


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: write(folder / "a.csv", "AAAA", 101),
        lambda folder: (folder / "a.csv").rename(folder / "d.csv"),
        lambda folder: (write(folder / "a.csv", "aaa", 100), write(folder / "b.csv", "bbbbb", 101)),
    ],
    ids=["a corrected file with its own time", "another name", "another division"],
)
def test_a_folder_has_changed_where_one_of_its_files_has(known, tmp_path, change):
    """Its size, its newest time and its number of files are what they were."""
    files, stamp = known
    assert files.stamped(stamp) is stamp
    change(tmp_path)
    assert files.stamped(stamp)["sha256"] == files.content() != stamp["sha256"]


def test_a_stamp_of_an_earlier_version_is_compared_by_content(known):
    files, stamp = known
    earlier = {name: value for name, value in stamp.items() if name != "identity"}
    assert files.stamped(earlier) == stamp
