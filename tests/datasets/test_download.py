import hashlib

import pytest

from pinet_kedro.datasets import download
from pinet_kedro.errors import InputError


@pytest.fixture
def table(monkeypatch):
    data = b"user_id:token\titem_id:token\n1\t2\n"
    monkeypatch.setattr(download, "SHA256", hashlib.sha256(data).hexdigest())
    return data


def failing():
    raise OSError("no route to host")


def test_the_second_source_serves_when_the_first_fails(tmp_path, table):
    path = tmp_path / "raw" / "table.inter"
    download.fetch_movielens_100k(path, {"first": failing, "second": lambda: table})
    assert path.read_bytes() == table
    download.check(path)


def test_a_truncated_download_is_not_kept(tmp_path, table):
    path = tmp_path / "table.inter"
    with pytest.raises(InputError, match="sha256"):
        download.fetch_movielens_100k(path, {"only": lambda: table[:-3]})
    assert list(tmp_path.iterdir()) == []


def test_without_any_source_the_error_says_what_was_tried_and_what_to_do(tmp_path):
    path = tmp_path / "table.inter"
    with pytest.raises(InputError) as error:
        download.fetch_movielens_100k(path, {"GroupLens": failing, "pip": failing})
    for words in ("GroupLens: no route to host", "pip: no route to host", str(path), "--env=synthetic"):
        assert words in str(error.value)


def test_a_file_that_was_changed_is_refused_by_name(tmp_path, table):
    path = tmp_path / "table.inter"
    path.write_bytes(table + b"x")
    with pytest.raises(InputError, match=r"table\.inter.*Delete the file"):
        download.check(path)
