import hashlib

import pytest

from pinet_kedro.datasets.download import MOVIELENS_100K, Download
from pinet_kedro.errors import InputError

TABLE = b"user_id:token\titem_id:token\n1\t2\n"


def download_of(sources):
    return Download("MovieLens-100k", hashlib.sha256(TABLE).hexdigest(), sources, MOVIELENS_100K.way_out)


def failing():
    raise OSError("no route to host")


def test_the_second_source_serves_when_the_first_fails(tmp_path):
    path = tmp_path / "raw" / "table.inter"
    table = download_of({"first": failing, "second": lambda: TABLE})
    table.fetch(path)
    assert path.read_bytes() == TABLE
    table.check(path)


def test_a_truncated_download_is_not_kept(tmp_path):
    path = tmp_path / "table.inter"
    with pytest.raises(InputError, match="sha256"):
        download_of({"only": lambda: TABLE[:-3]}).fetch(path)
    assert list(tmp_path.iterdir()) == []


def test_without_any_source_the_error_says_what_was_tried_and_what_to_do(tmp_path):
    path = tmp_path / "table.inter"
    with pytest.raises(InputError) as error:
        download_of({"GroupLens": failing, "pip": failing}).fetch(path)
    for words in ("GroupLens: no route to host", "pip: no route to host", str(path), "--env=synthetic"):
        assert words in str(error.value)


def test_a_file_that_was_changed_is_refused_by_name(tmp_path):
    path = tmp_path / "table.inter"
    path.write_bytes(TABLE + b"x")
    with pytest.raises(InputError, match=r"table\.inter.*Delete the file"):
        download_of({}).check(path)
