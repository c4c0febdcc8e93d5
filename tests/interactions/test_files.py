"""Which files a folder has."""

from pathlib import Path

import pytest

from pinet_kedro.interactions.files import files_of


@pytest.fixture
def folder(tmp_path):
    """A folder of files, and a place outside it."""
    for name in ("log/2024/b.csv", "log/a.csv", "log/.hidden/x.csv", "log/b.csv.tmp", "archive/2023/old.csv"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path / "log"


def names(folder):
    return [path.relative_to(folder).as_posix() for path in files_of(folder)]


def test_a_folder_has_the_files_behind_its_links(folder):
    Path(folder, "old").symlink_to(folder.parent / "archive")
    assert names(folder) == ["2024/b.csv", "a.csv", "old/2023/old.csv"]


def test_a_link_to_what_is_there_anyway_adds_nothing(folder):
    Path(folder, "1").symlink_to(folder / "2024")
    Path(folder, "2024", "up").symlink_to(folder)
    assert names(folder) == ["2024/b.csv", "a.csv"]
