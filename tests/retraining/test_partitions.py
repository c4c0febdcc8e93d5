"""Which files are new: a set is remembered, not a greatest name."""

import json
import os
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
import pytest
from kedro.io import DataCatalog, DatasetError
from kedro_datasets.partitions import PartitionedDataset

from pinet_kedro.datasets.files import InteractionsDataset
from pinet_kedro.datasets.raw_log import RawLog
from pinet_kedro.engines.datasets import EngineInteractionsDataset
from pinet_kedro.errors import InputError, NothingToDo
from pinet_kedro.interactions.events import Interactions
from pinet_kedro.retraining import gathering
from pinet_kedro.retraining.config import Retraining
from pinet_kedro.retraining.gathering import gather, gather_all, read_stored
from pinet_kedro.retraining.intake import Arrival, Intake, take_in
from pinet_kedro.retraining.new_work import require_new
from pinet_kedro.retraining.partitions import RAW_LOG, PartitionsDataset, work_key
from pinet_kedro.tracking.config import Tracking

ROOT = Path(__file__).parents[2]


GOOD = pd.DataFrame(
    {
        "user_id": [f"u{n % 3}" for n in range(9)],
        "item_id": [f"i{n}" for n in range(9)],
        "timestamp": range(1_600_000_000, 1_600_000_009),
    }
)
BAD = GOOD.assign(timestamp=5)
PARTITIONS = "pinet_kedro.retraining.partitions.PartitionsDataset"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The folder of partitions of a project with the shipped expectations."""
    monkeypatch.chdir(tmp_path)
    suite = "conf/base/expectations/raw_events.json"
    (tmp_path / suite).parent.mkdir(parents=True)
    (tmp_path / suite).write_text((ROOT / suite).read_text())
    (tmp_path / "data/01_raw/interactions").mkdir(parents=True)
    return tmp_path / "data/01_raw/interactions"


def dataset(folder):
    reader = {"type": "pinet_kedro.datasets.files.InteractionsDataset", "timestamp_unit": "s"}
    return PartitionsDataset(path=str(folder), dataset=reader)


def deliver(folder, **frames):
    for name, frame in frames.items():
        frame.to_csv(folder / f"{name}.csv", index=False)


def confirmed(folder):
    """The dataset of a run that ended well."""
    done = dataset(folder)
    done.load()
    done.confirm()
    return done


def test_everything_is_new_until_it_is_confirmed(folder):
    deliver(folder, b=GOOD)
    assert list(dataset(folder).load().new) == ["b.csv"]
    assert list(dataset(folder).load().new) == ["b.csv"]
    confirmed(folder)
    assert dataset(folder).load().new == {}


def test_a_late_file_with_a_smaller_name_is_seen(folder):
    deliver(folder, b=GOOD)
    confirmed(folder)
    deliver(folder, a=GOOD)
    assert list(dataset(folder).load().new) == ["a.csv"]


def test_a_file_that_arrives_during_the_run_is_not_confirmed_with_it(folder):
    deliver(folder, a=GOOD)
    run = dataset(folder)
    run.load()
    deliver(folder, b=GOOD)
    run.confirm()
    assert list(dataset(folder).load().new) == ["b.csv"]


def test_touching_a_file_changes_nothing_and_new_content_does(folder):
    deliver(folder, a=GOOD)
    confirmed(folder)
    (folder / "a.csv").touch()
    assert dataset(folder).load().new == {}
    deliver(folder, a=GOOD.head(5))
    assert dataset(folder).load().new["a.csv"].changed


def test_a_file_in_the_place_of_another_one_of_the_same_size_and_time_is_changed(folder):
    """As `cp -p`, `rsync -t` and archives leave it."""
    deliver(folder, a=GOOD)
    confirmed(folder)
    file = folder / "a.csv"
    was, content = file.stat(), file.read_bytes()
    file.write_bytes(content[:-2] + bytes([content[-2] ^ 1]) + content[-1:])
    os.utime(file, ns=(was.st_atime_ns, was.st_mtime_ns))
    assert dataset(folder).load().new["a.csv"].changed


def test_a_file_that_was_touched_is_read_once_more_and_not_every_time(folder):
    deliver(folder, a=GOOD)
    confirmed(folder)
    (folder / "a.csv").chmod(0o600)
    confirmed(folder)
    stamp = json.loads((folder / ".taken.json").read_text())["a.csv"]
    assert stamp["ctime_ns"] == (folder / "a.csv").stat().st_ctime_ns


def test_unfinished_and_hidden_files_are_not_looked_at(folder):
    for name in (".a.csv", "a.csv.part", "a.csv.tmp", "_a.csv"):
        GOOD.to_csv(folder / name, index=False)
    assert dataset(folder).load().new == {}


@pytest.mark.parametrize("address", ["s3://bucket/interactions", "memory://interactions", "file:///tmp"])
def test_a_folder_behind_an_address_is_refused_and_not_one_without_files(address):
    with pytest.raises(DatasetError, match=f"partitions at {address}: they are read from a folder of this machine"):
        DataCatalog.from_config({"new": {"type": PARTITIONS, "path": address, "dataset": "pandas.CSVDataset"}}).get(
            "new"
        )


def test_a_taken_file_may_vanish(folder):
    deliver(folder, a=GOOD)
    confirmed(folder)
    (folder / "a.csv").unlink()
    delivery = dataset(folder).load()
    assert delivery.new == {}
    assert list(delivery.contents()) == ["a.csv"]


@pytest.mark.parametrize(
    "content",
    [b"{", b"", b"[]", b'["a.csv"]', b"null", b'{"a.csv": null}', b'{"a.csv": {"size": "9"}}', b"\xff\xfe\x00",
     b'{"a.csv": {"size": 1, "mtime_ns": 2, "sha256": 3}}', None],
    ids=repr,
)  # fmt: skip
def test_a_broken_checkpoint_is_an_error_and_not_an_empty_one(folder, content):
    deliver(folder, a=GOOD)
    confirmed(folder)
    place = folder / ".taken.json"
    if content is None:
        place.unlink()
        place.mkdir()
    else:
        place.write_bytes(content)
    with pytest.raises(
        DatasetError, match=r"\.taken\.json, the list of .* cannot be read.*Restore it, or remove it"
    ) as error:
        dataset(folder).load()
    # Kedro wraps what a dataset raises; the command line shows our sentence alone.
    assert isinstance(error.value.__cause__, InputError)
    assert place.is_dir() if content is None else place.read_bytes() == content


def test_a_small_partition_is_good_and_a_bad_one_is_set_aside_with_its_report(folder):
    deliver(folder, a=GOOD, b=BAD)
    (folder / "c.csv.gz").write_bytes(b"no gzip")
    run = dataset(folder)
    accepted, intake = take_in(run.load(), Retraining())
    assert list(accepted) == intake.new == ["a.csv"]
    rejected = folder.parent / "rejected"
    assert (rejected / "b.csv").exists()
    report = (rejected / "b.csv.txt").read_text()
    assert "older than 1990" in report
    assert "its entry in the catalog is new_interactions, which --params does not reach" in report
    assert (rejected / "b.csv.report" / "index.html").exists()
    assert "cannot be read as its ending says" in (rejected / "c.csv.gz.txt").read_text()
    assert not (rejected / "a.csv.report").exists()
    assert sorted(path.name for path in folder.iterdir()) == ["a.csv"]
    run.confirm()
    assert list(json.loads((folder / ".taken.json").read_text())) == list(intake.partitions) == ["a.csv"]


def test_a_bad_partition_does_not_replace_another_one_of_its_name(folder):
    rejected = folder.parent / "rejected"
    for number, value in enumerate((5, 6, 6, 7)):
        deliver(folder, **{f"a{number}": GOOD, "b": GOOD.assign(timestamp=value)})
        _, intake = take_in(dataset(folder).load(), Retraining())
    assert intake.arrivals[-1].place == "data/01_raw/rejected/3-b.csv"
    times = {path.name: pd.read_csv(path)["timestamp"][0] for path in rejected.glob("*.csv")}
    assert times == {"b.csv": 5, "2-b.csv": 6, "3-b.csv": 7}
    assert all(rejected.joinpath(f"{name}.txt").exists() for name in times)


def test_a_bad_partition_on_another_file_system_is_set_aside_as_well(folder):
    share = Path("/dev/shm")
    if not share.is_dir() or share.stat().st_dev == folder.stat().st_dev:
        pytest.skip("one file system")
    with TemporaryDirectory(dir=share) as place:
        deliver(Path(place), a=GOOD, b=BAD)
        _, intake = take_in(dataset(place).load(), Retraining())
        assert sorted(path.name for path in Path(place).iterdir()) == ["a.csv"]
    pd.testing.assert_frame_equal(pd.read_csv(intake.arrivals[-1].place), BAD)


def test_dates_that_a_partition_does_not_decide_are_said_where_it_is_read(folder):
    reader = {"type": "pinet_kedro.datasets.files.InteractionsDataset"}
    deliver(folder, a=GOOD.assign(timestamp="01/02/2020"))
    run = PartitionsDataset(path=str(folder), dataset=reader).load()
    with pytest.raises(InputError, match=r"timestamp_unit='%d/%m/%Y'.* its entry in the catalog is new_interactions"):
        take_in(run, Retraining(bad_partition="stop"))


def test_a_corrected_partition_is_new_again(folder):
    deliver(folder, a=GOOD, b=BAD)
    run = dataset(folder)
    take_in(run.load(), Retraining())
    run.confirm()
    deliver(folder, b=GOOD)
    assert list(dataset(folder).load().new) == ["b.csv"]


def test_a_bad_partition_stops_the_run_on_request_and_stays(folder):
    deliver(folder, a=GOOD, b=BAD)
    with pytest.raises(InputError, match=r"(?s)partition b\.csv: .*older than 1990"):
        take_in(dataset(folder).load(), Retraining(bad_partition="stop"))
    assert (folder / "b.csv").exists()


def test_nothing_but_bad_partitions_is_an_error(folder):
    deliver(folder, b=BAD)
    with pytest.raises(InputError, match=r"none of the new partitions can be used: partition b\.csv"):
        take_in(dataset(folder).load(), Retraining())


def test_changed_content_stops_the_run_or_replaces(folder):
    deliver(folder, a=GOOD)
    before = confirmed(folder).load().contents()
    deliver(folder, a=GOOD.head(5))
    with pytest.raises(InputError, match=r"partition a\.csv: already taken, and the content has changed"):
        take_in(dataset(folder).load(), Retraining())
    accepted, intake = take_in(dataset(folder).load(), Retraining(changed_partition="replace"))
    assert len(accepted["a.csv"]) == 5
    assert intake.arrivals[0].changed
    assert intake.partitions.keys() == before.keys()
    assert intake.partitions != before


def test_what_a_run_that_did_not_end_has_stored_of_a_changed_file_is_not_taken_for_the_old_one(folder, tmp_path):
    reader = "pinet_kedro.datasets.files.ParquetDataset"
    stored = PartitionedDataset(path=str(tmp_path / "accepted"), dataset=reader, filename_suffix=".parquet")
    config = Retraining(raw_log=False, changed_partition="replace")

    def gathered(confirm=False):
        run = dataset(folder)
        accepted, intake = take_in(run.load(), config)
        stored.save(accepted)
        events = gather_all(None, stored.load(), intake, config).events
        if confirm:
            run.confirm()
        return len(events)

    deliver(folder, a=GOOD)
    gathered(confirm=True)
    deliver(folder, a=GOOD.head(5))
    assert gathered() == 5
    deliver(folder, a=GOOD, b=GOOD.assign(item_id="new"))
    with pytest.raises(InputError, match=r"partition a\.csv: what is stored of it was read from another content"):
        gathered()
    deliver(folder, a=GOOD.head(5))
    assert gathered() == 14


def test_a_partition_that_counts_as_taken_and_is_not_stored_any_more_is_named():
    intake = Intake(arrivals=(Arrival(id="c", accepted=True),), partitions={"a": "1", "b": "2", "c": "3"})
    with pytest.raises(InputError, match=r"partition a \(2 in all\) counts as taken, and its events are not stored"):
        gather_all(None, {"c": lambda: GOOD}, intake, Retraining())


def test_events_are_gathered_by_name_whatever_order_they_came_in():
    parts = {name: lambda name=name: GOOD.assign(item_id=name) for name in ("b", "a")}
    parts = read_stored(parts, ["b", "a"], Intake(arrivals=(), partitions={}))
    assert gather(parts).events["item_id"].drop_duplicates().tolist() == ["a", "b"]


# ---------------------------------------------------------------- the raw log of the environment


@pytest.fixture
def raw(folder):
    """The raw log of a project, which reads `log.csv`, and a function that writes the file."""

    def write(frame):
        frame.to_csv(folder.parent / "log.csv", index=False)

    write(LOG)
    return RawLog(lambda: InteractionsDataset(str(folder.parent / "log.csv"), timestamp_unit="s")), write


LOG = pd.DataFrame(
    {
        "user_id": [f"u{n % 12}" for n in range(60)],
        "item_id": [f"i{n % 15}" for n in range(60)],
        "timestamp": range(1_500_000_000, 1_500_000_060),
    }
)


def found(run, raw_log, registry):
    return require_new(run.load(), raw_log, Retraining(), Tracking(uri=registry), {})


def take_partition(folder, raw_log, registry):
    """A run ends well that has found a partition beside the raw log."""
    deliver(folder, a=GOOD)
    run = dataset(folder)
    found(run, raw_log, registry)
    run.confirm()


@pytest.fixture
def registry(tmp_path):
    return f"sqlite:///{tmp_path / 'mlflow.db'}"


def test_the_work_of_a_run_is_known_by_its_raw_log_too(folder, raw, registry):
    raw_log, write = raw
    deliver(folder, a=GOOD)
    before = found(dataset(folder), raw_log, registry).contents()
    write(LOG.head(55))
    after = found(dataset(folder), raw_log, registry).contents()
    assert before["a.csv"] == after["a.csv"]
    assert len({work_key(contents, {}) for contents in (before, after, {"a.csv": before["a.csv"]})}) == 3


def test_the_raw_log_is_not_read_where_nothing_is_new(folder, raw, registry, monkeypatch):
    raw_log, write = raw
    take_partition(folder, raw_log, registry)
    with monkeypatch.context() as patch:
        patch.setattr("pinet_kedro.sources.raw_files.file_hash", None)
        with pytest.raises(NothingToDo, match="the only partition has been taken before"):
            found(dataset(folder), raw_log, registry)
    write(LOG.assign(item_id="i1"))
    assert found(dataset(folder), raw_log, registry).raw_log_changed
    (folder.parent / "log.csv").unlink()
    with pytest.raises(NothingToDo):
        found(dataset(folder), raw_log, registry)


def test_the_same_raw_log_with_other_columns_is_another_one(folder, raw, registry):
    raw_log, _ = raw
    take_partition(folder, raw_log, registry)
    swapped = {"user": "item_id", "item": "user_id"}
    other = RawLog(lambda: InteractionsDataset(str(folder.parent / "log.csv"), swapped, timestamp_unit="s"))
    assert found(dataset(folder), other, registry).raw_log_changed
    place = folder / ".taken.json"
    taken = json.loads(place.read_text())
    del taken[RAW_LOG]["reading"]  # as earlier versions stored it
    place.write_text(json.dumps(taken))
    with pytest.raises(NothingToDo):
        found(dataset(folder), other, registry)


def test_another_raw_log_stops_the_run_or_replaces(folder, raw, registry):
    raw_log, write = raw
    take_partition(folder, raw_log, registry)
    write(LOG.head(55))
    delivery = found(dataset(folder), raw_log, registry)
    with pytest.raises(InputError, match=r"the raw log of the environment .* has changed since it was last trained on"):
        take_in(delivery, Retraining())
    accepted, intake = take_in(delivery, Retraining(changed_partition="replace"))
    assert (accepted, intake.files, intake.raw_log) == ({}, ["a.csv"], delivery.raw_log["sha256"])


def test_partitions_that_were_taken_without_a_raw_log_are_not_joined_with_one_in_silence(folder, raw, registry):
    deliver(folder, a=GOOD)
    confirmed(folder)
    with pytest.raises(NothingToDo):
        found(dataset(folder), raw[0], registry)
    deliver(folder, b=GOOD)
    with pytest.raises(InputError, match=r"what was taken so far \(1 partition\) was trained on without the raw log"):
        take_in(found(dataset(folder), raw[0], registry), Retraining())
    _, intake = take_in(found(dataset(folder), None, registry), Retraining())
    assert (intake.files, intake.raw_log) == (["a.csv", "b.csv"], None)


def joined(raw_log, events, more=None, **changed):
    """The raw log and the partitions: `a` of these events, and `more`."""
    delivered = {"a": events} | (more or {})
    stored = {
        name: Interactions.canonical(part.assign(timestamp=part["timestamp"] * 10**9), name).events
        for name, part in delivered.items()
    }
    intake = Intake(
        arrivals=tuple(Arrival(id=name, accepted=True) for name in delivered),
        partitions={RAW_LOG: raw_log.stamped(None)["sha256"], **dict.fromkeys(delivered, "1")},
    )
    accepted = {name: partial(stored.__getitem__, name) for name in stored}
    return gather_all(raw_log, accepted, intake.model_copy(update=changed), Retraining())


def test_raw_log_and_partitions_are_joined_by_typed_ids_and_times(folder, raw):
    raw_log, write = raw
    write(LOG.assign(user_id=LOG["user_id"].str[1:], rating=4.0))
    together = joined(raw_log, GOOD.assign(user_id=GOOD["user_id"].str[1:].astype(int))).events
    assert set(together["user_id"]) == {str(n) for n in range(12)}
    assert (together["timestamp"].min(), together["timestamp"].max()) == (15 * 10**17, 1_600_000_008 * 10**9)
    assert list(together) == ["user_id", "item_id", "timestamp"]  # half a column of ratings would drop the other half


@pytest.mark.parametrize(
    ("log_ids", "partition_ids", "what"),
    [
        (lambda log: {"user_id": log["user_id"].str[1:]}, lambda part: {}, "user"),
        (lambda log: {}, lambda part: {"item_id": part["item_id"].str[1:]}, "item"),
        (
            lambda log: {"user_id": "1" + log["user_id"].str[1:]},
            lambda part: {"user_id": "001" + part["user_id"].str[1:]},
            "user",
        ),
    ],
    ids=["users are numbers in one", "items are numbers in one", "leading zeros"],
)
def test_ids_of_two_kinds_are_an_error(folder, raw, log_ids, partition_ids, what):
    raw_log, write = raw
    write(LOG.assign(**log_ids(LOG)))
    with pytest.raises(InputError, match=rf"partition a and the raw log .*log\.csv have no {what} in common"):
        joined(raw_log, GOOD.assign(**partition_ids(GOOD)))


def test_a_partition_of_new_users_alone_passes_with_a_warning(raw, caplog):
    with caplog.at_level("WARNING"):
        assert len(joined(raw[0], GOOD.assign(user_id="u77")).events) == 69
    assert "No user of partition a is in the raw log" in caplog.text


@pytest.mark.parametrize("in_engine", [False, True])
@pytest.mark.parametrize(
    ("moved", "told"),
    [(0, None), (120_000_000, "3 events of partition a, of 3 looked at, are those"), (10**9, None)],
)
def test_events_of_the_raw_log_with_other_digits_of_their_times_are_reported(
    folder, raw, caplog, moved, told, in_engine
):
    """They are no exact duplicates."""
    again = LOG.iloc[[5, 5, 17, 40]].assign(timestamp=lambda events: events["timestamp"] + moved / 10**9)
    source = raw[0]
    if in_engine:
        entry = {"filepath": str(folder.parent / "log.csv"), "timestamp_unit": "s"}
        ours = EngineInteractionsDataset(engine={"name": "duckdb", "threads": 1}, folder=str(folder.parent), **entry)
        source = RawLog(lambda: ours)
    with caplog.at_level("WARNING"):
        together = joined(source, again)
    assert together.size[0] == 64
    together.close()
    assert told in caplog.text if told else "digits" not in caplog.text


def test_events_with_other_digits_are_reported_for_each_partition_by_one_reading_of_the_raw_log(
    raw, caplog, monkeypatch
):
    reads, read = [], gathering._events_of
    monkeypatch.setattr(gathering, "_events_of", lambda *asked: reads.append(asked) or read(*asked))
    finer = LOG.assign(timestamp=LOG["timestamp"] + 0.12)
    with caplog.at_level("WARNING"):
        joined(raw[0], GOOD, {"b": finer.iloc[[5, 17]], "c": finer.iloc[[40]]})
    told = [text for text in caplog.messages if "digits" in text]
    assert [text[:36] for text in told] == [
        "2 events of partition b, of 2 looked",
        "1 events of partition c, of 1 looked",
    ]
    assert len(reads) == 1


def test_a_partition_without_events_changes_nothing(raw):
    assert len(joined(raw[0], GOOD[:0]).events) == 60


def test_a_raw_log_without_a_clock_or_changed_in_the_meantime_is_an_error(folder, raw):
    raw_log, _ = raw
    place = str(folder.parent / "log.csv")
    with pytest.raises(InputError, match="give the order of its events, not their time"):
        joined(RawLog(lambda: InteractionsDataset(place, timestamp_unit="order")), GOOD)
    with pytest.raises(InputError, match="has changed since this run began"):
        joined(raw_log, GOOD, partitions={RAW_LOG: "another", "a": "1"})


def test_a_raw_log_whose_file_is_not_named_is_an_error_in_plain_words(folder):
    entry = {"raw_interactions": {"type": "pinet_kedro.datasets.files.InteractionsDataset", "filepath": None}}
    catalog = DataCatalog.from_config(entry)
    with pytest.raises(InputError, match=r"^the raw log cannot be read: which file\? Use --params=filepath=[^\n]+$"):
        RawLog(lambda: catalog.get("raw_interactions")).read()
