"""Files behind an address: in fsspec's memory, in stores that fail, and on an HTTP server."""

import os
import shutil
import socket
import threading
import time
from functools import partial
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from kedro.io import DatasetError

from pinet_kedro.datasets.files import InteractionsDataset
from pinet_kedro.datasets.items import ItemMetadataDataset
from pinet_kedro.datasets.raw_log import RawLog
from pinet_kedro.errors import InputError
from pinet_kedro.sources import stores
from pinet_kedro.sources.fetched import FetchedFiles, UnreachableError, list_files, raw_files
from pinet_kedro.sources.raw_files import RawFiles
from pinet_kedro.sources.stores import Found

LOG = {
    "b/2024-02.csv": "user_id,item_id,timestamp\nu2,i2,1600000002\n",
    "a.csv": "user_id,item_id,timestamp\nu1,i1,1600000001\n",
    "b/2024-01.csv": "user_id,item_id,timestamp\nu3,i3,1600000003\n",
}
NO_DATA = {"_SUCCESS": "", "b/.a.csv.crc": "x", "b/late.csv.part": "user_id"}


class Failing(MemoryFileSystem):
    """`before` and `after` are called with the path of each file that is fetched, and the path of its copy."""

    protocol = "failing"
    before = after = staticmethod(lambda path, copy: None)

    @classmethod
    def _strip_protocol(cls, path):
        return super()._strip_protocol(path.replace("failing://", "memory://"))

    def get_file(self, rpath, lpath, **options):
        self.before(rpath, lpath)
        super().get_file(rpath, lpath, **options)
        self.after(rpath, lpath)


fsspec.register_implementation("failing", Failing, clobber=True)


@pytest.fixture
def memory(tmp_path, monkeypatch):
    """The log in the memory of fsspec, and in the folder `log` of this machine."""
    monkeypatch.chdir(tmp_path)
    system = fsspec.filesystem("memory")
    for name, text in (LOG | NO_DATA).items():
        system.pipe_file(f"/bucket/log/{name}", text.encode())
        path = tmp_path / "log" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    yield system
    if system.exists("/bucket"):
        system.rm("/bucket", recursive=True)


def copies(files):
    """What is there of each copy, so that another one shows."""
    path = files.path()
    found = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file() and not p.name.startswith(".")]
    return {p.name: (p.stat().st_ino, p.stat().st_mtime_ns) for p in found}


def again(files):
    return FetchedFiles(files._address)


@pytest.mark.parametrize(
    "name", ["log", "log/", "log/b/2024-*.csv", "log/**/*.csv", "log/*.csv", "log/b/2024-0[!2].csv"]
)
def test_files_behind_an_address_are_those_of_the_same_folder_or_pattern_here(memory, name):
    there, here = raw_files(f"memory://bucket/{name}"), raw_files(name)
    assert there.content() == here.content()
    assert there.stamp()["size"] == here.stamp()["size"]
    assert there.stamp()["files"] == here.stamp()["files"]


def test_one_file_behind_an_address_is_the_same_source_as_that_file_here(memory):
    assert raw_files("memory://bucket/log/a.csv").content() == RawFiles(Path("log/a.csv")).content()


def test_rows_come_in_the_order_of_the_paths_and_messages_name_addresses(memory):
    found = InteractionsDataset("memory://bucket/log").load()
    assert found.events["user_id"].tolist() == ["u1", "u3", "u2"]
    assert found.events.equals(InteractionsDataset("log").load().events)
    assert found.origin.file == "memory://bucket/log"
    assert [file for file, _ in found.origin.parts] == [f"memory:///bucket/log/{name}" for name in sorted(LOG)]
    memory.pipe_file("/bucket/log/a.csv", b"user_id,item_id,timestamp\nu1,i1\n")
    with pytest.raises(DatasetError, match=r"\nmemory:///bucket/log/a\.csv: line 2 has 2 fields"):
        InteractionsDataset("memory://bucket/log").load()


def test_items_are_read_from_an_address(memory):
    memory.pipe_file("/bucket/items.csv", b"item_id,title\ni1,One\n")
    dataset = ItemMetadataDataset("memory://bucket/items.csv")
    assert dataset.load()["title"].tolist() == ["One"]
    [entry] = dataset.entries("item_metadata").values()
    assert (entry.place, entry.contained) == ("memory://bucket/items.csv", True)


def test_only_what_the_store_calls_another_file_is_fetched_again(memory):
    files = FetchedFiles("memory://bucket/log")
    first, stamp = copies(files), files.stamp()
    assert copies(again(files)) == first
    assert again(files).stamp() == stamp
    text = LOG["a.csv"].replace("u1", "u9")  # of the same size
    memory.pipe_file("/bucket/log/a.csv", text.encode())
    memory.rm("/bucket/log/b/2024-01.csv")
    second = again(files)
    assert second.stamp() != stamp
    assert copies(second).keys() == {"a.csv", "2024-02.csv"}
    assert copies(second)["2024-02.csv"] == first["2024-02.csv"]
    assert (second.path() / "a.csv").read_text() == text


def test_the_raw_log_of_retraining_is_another_one_when_the_store_says_so_and_its_content_is(memory):
    def log():
        return RawLog(lambda: InteractionsDataset("memory://bucket/log"))

    known = log().stamped(None)
    assert known["sha256"] == RawFiles(Path("log")).content()
    shutil.rmtree("data")
    assert not log().differs(known)
    assert log().stamped(known) == known
    assert not Path("data").exists()
    memory.pipe_file("/bucket/log/a.csv", LOG["a.csv"].encode())  # the same once more
    assert not log().differs(known)
    memory.pipe_file("/bucket/log/a.csv", LOG["a.csv"].replace("u1", "u9").encode())
    assert log().differs(known)
    memory.rm("/bucket/log", recursive=True)
    assert not log().differs(known)


def test_a_copy_that_somebody_has_changed_is_fetched_again(memory):
    files = FetchedFiles("memory://bucket/log")
    copy = files.path() / "a.csv"
    copy.write_text(copy.read_text().replace("u1", "u7"))
    assert (again(files).path() / "a.csv").read_text() == LOG["a.csv"]


def test_the_stamp_needs_no_copy(memory):
    files = FetchedFiles("memory://bucket/log")
    files.stamp()
    assert not Path("data").exists()


def test_a_killed_download_leaves_whole_files_and_goes_on(memory, monkeypatch):
    def end(path, copy):
        if path.endswith("2024-01.csv"):
            Path(copy).write_text("user_id,it")
            os._exit(9)

    files = FetchedFiles("failing://bucket/log")
    monkeypatch.setattr(Failing, "before", staticmethod(end))
    if not (process := os.fork()):
        files.path()
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 9
    left = [path for path in files._folder.rglob("*.csv") if path.is_file()]
    assert left
    for path in left:
        assert path.read_text() == LOG[path.relative_to(files._folder).as_posix()]
    fetched = []
    monkeypatch.setattr(Failing, "before", staticmethod(lambda path, copy: fetched.append(path)))
    assert again(files).content() == RawFiles(Path("log")).content()
    assert len(fetched) == len(LOG) - len(left)
    index = files._folder / ".fetched.jsonl"
    index.write_text(index.read_text()[:-9])  # as after a kill while it was written
    assert again(files).content() == RawFiles(Path("log")).content()
    assert len(fetched) == len(LOG) - len(left) + 1


def test_a_download_that_fails_is_tried_once_and_says_why(memory, monkeypatch):
    tried = []

    def fail(path, copy):
        tried.append(path)
        raise PermissionError("it may be listed, not read")

    monkeypatch.setattr(Failing, "before", staticmethod(fail))
    with pytest.raises(
        DatasetError, match=r"\nfailing://bucket/log/a\.csv cannot be fetched: it may be listed, not read\. Run again"
    ):
        InteractionsDataset("failing://bucket/log/a.csv").load()
    assert len(tried) == 1


def test_a_file_that_is_replaced_while_it_is_fetched_stops_the_run(memory, monkeypatch):
    def replace(path, copy):
        monkeypatch.setattr(Failing, "after", staticmethod(lambda path, copy: None))
        memory.pipe_file(path, b"user_id,item_id,timestamp\nu8,i8,1600000008\n")

    files = FetchedFiles("failing://bucket/log/a.csv")
    monkeypatch.setattr(Failing, "after", staticmethod(replace))
    with pytest.raises(InputError, match=r"failing://bucket/log/a\.csv: 'a\.csv' was changed or removed while"):
        files.path()
    assert "u8" in again(files).path().read_text()


def test_a_file_that_arrives_in_part_is_no_copy(memory, monkeypatch):
    monkeypatch.setattr(Failing, "after", staticmethod(lambda path, copy: os.truncate(copy, 9)))
    files = FetchedFiles("failing://bucket/log/a.csv")
    with pytest.raises(InputError, match=rf"9 of {len(LOG['a.csv'])} bytes of 'a\.csv' have arrived"):
        files.path()
    assert not (files._folder / "a.csv").exists()


def test_the_name_of_one_file_is_no_pattern(memory):
    memory.pipe_file("/bucket/odd/a?[1].csv", LOG["a.csv"].encode())
    memory.pipe_file("/bucket/odd/ab1.csv", LOG["a.csv"].encode())
    assert FetchedFiles("memory://bucket/odd/a?[1].csv").path().name == "a?[1].csv"
    assert FetchedFiles("memory://bucket/odd/a?[1]*").path().is_dir()


def test_no_two_addresses_have_the_same_copies():
    addresses = [
        "s3://a/log", "s3://a/log/", "s3://b/log", "gs://a/log", "s3://a/log?", "s3://a/log*", "s3://a_log", "s3://a/Log",
        "https://a/log?file=1", "https://a/log?file=2", f"s3://{'a' * 80}/log", f"s3://b{'a' * 80}/log",
    ]  # fmt: skip
    assert len({FetchedFiles(address)._folder for address in addresses}) == len(addresses)


@pytest.mark.parametrize("name", ["nothing.csv", "nothing/", "log/2023-*.csv", "log/b/2024-0[3].csv"])
def test_an_address_of_nothing_is_refused(memory, name):
    files = FetchedFiles(f"memory://bucket/{name}")
    assert not files.are_there()
    with pytest.raises(InputError, match=r"^memory://bucket/.*: no file of interactions or items is there"):
        files.path()


class Listed:
    """A store with files of these names, as S3 allows them."""

    def __init__(self, *names):
        self.names = names

    def one(self, path):
        return None

    def under(self, prefix):
        return [Found(prefix + name, 1, "1") for name in self.names]


@pytest.mark.parametrize("names", [["/etc/passwd"], ["a//b.csv"], ["a/../../b.csv"], ["a", "a/b.csv"], ["a/./b"]])
def test_names_that_are_no_files_of_a_folder_are_refused(names):
    with pytest.raises(InputError, match=r"cannot be copied into a folder|is a file and a folder"):
        list_files(Listed(*names), "bucket/log")


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("nosuch://bucket/log", "there is no such kind of address"),
        ("https://store.example/log/?part=1", "HTTP has no folders"),
        ("zip://a.csv::s3://bucket/log.zip", "without '::'"),
        ("s3://me:secret@bucket/log", "credentials of S3 by AWS_ACCESS_KEY_ID"),
        ("sftp://me:secret@host/log", "paramiko"),
    ],
)
def test_an_address_that_cannot_be_read_is_refused_in_a_sentence(address, words):
    with pytest.raises(InputError) as refused:
        FetchedFiles(address).path()
    assert words in str(refused.value)
    assert "secret" not in str(refused.value)


# ---------------------------------------------------------------- HTTP


class Quiet(SimpleHTTPRequestHandler):
    asked: tuple = ()

    def do_GET(self):
        type(self).asked += (self.path,)
        super().do_GET()

    def log_message(self, *arguments):
        pass


class WithoutIdentity(Quiet):
    def send_header(self, name, value):
        if name != "Last-Modified":
            super().send_header(name, value)


@pytest.fixture
def served(memory, tmp_path):
    """Starts a server of the folder `log`; returns its address."""
    servers = []

    def start(handler):
        handler.asked = ()
        servers.append(HTTPServer(("127.0.0.1", 0), partial(handler, directory=str(tmp_path / "log"))))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return f"127.0.0.1:{servers[-1].server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_a_file_is_read_over_http_and_again_when_it_is_another(served, tmp_path):
    address = f"http://{served(Quiet)}/a.csv?signature=secret"
    files = FetchedFiles(address)
    assert files.path().read_text() == LOG["a.csv"]
    assert files.path().name == "a.csv"
    assert "secret" not in files.shown + str(files.path())
    again(files).path()
    assert len(Quiet.asked) == 1
    changed = tmp_path / "log/a.csv"
    changed.write_text(LOG["a.csv"].replace("u1", "u9"))
    os.utime(changed, (1_700_000_000, 1_700_000_000))
    assert "u9" in again(files).path().read_text()
    with pytest.raises(InputError, match=r"/gone\.csv\?signature=…: no file of interactions or items is there"):
        FetchedFiles(address.replace("a.csv", "gone.csv")).path()


def test_where_a_server_tells_nothing_of_a_file_it_is_always_fetched(served):
    files = FetchedFiles(f"http://{served(WithoutIdentity)}/a.csv")
    files.path()
    again(files).path()
    assert len(WithoutIdentity.asked) == 2
    assert files.stamp() != again(files).stamp()


def test_a_server_that_does_not_answer_ends_in_a_sentence_without_the_password(memory, monkeypatch):
    monkeypatch.setattr(stores, "_READ_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://me:secr%20et@127.0.0.1:{silent.getsockname()[1]}/a.csv"
        start = time.monotonic()
        with pytest.raises(UnreachableError, match=r"^http://…@127.* cannot be read: .* Check the address") as refused:
            FetchedFiles(address).stamp()
        assert time.monotonic() - start < 5
    with pytest.raises(UnreachableError) as away:
        FetchedFiles(address).stamp()
    for error in (refused, away):
        assert "secr" not in str(error.value)
