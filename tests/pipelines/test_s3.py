"""Files of runs and versions in S3, and raw data, on a server of moto in this process."""

import json
import os
import socket
import sys

import boto3
import pytest
import yaml
from moto.server import ThreadedMotoServer

from pinet_kedro.errors import InputError
from pinet_kedro.interactions.synthetic import SyntheticLog, generate_interactions
from pinet_kedro.sources.fetched import raw_files
from pinet_kedro.tracking import store

FOLDER = "files/of/pinet"


@pytest.fixture
def bucket(monkeypatch):
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    settings = {
        "MLFLOW_S3_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "me", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "eu-central-1",
    }  # fmt: skip
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    place = {"LocationConstraint": "eu-central-1"}
    bucket = boto3.resource("s3", endpoint_url=settings["MLFLOW_S3_ENDPOINT_URL"]).create_bucket(
        Bucket="pinet-test", CreateBucketConfiguration=place
    )
    yield bucket
    bucket.objects.delete()  # moto keeps them for the process
    bucket.delete()
    server.stop()


def keys(bucket, ending=""):
    return [found.key for found in bucket.objects.all() if found.key.endswith(ending)]


def test_a_version_in_s3_is_promoted_and_used_until_somebody_changes_it(bucket, own_copy, own_address):
    project, path = own_copy, own_copy.folder / "conf/test/parameters.yml"
    tracking = {"uri": "sqlite:///shared.db", "artifacts": f"s3://pinet-test/{FOLDER}"}
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {"tracking": tracking}))
    for done in (
        project.run("--pipeline=registration", "--env=test"),
        project.invoke("promote", "--env=test"),
        project.run("--pipeline=batch_inference", "--env=test"),
    ):
        assert done.exit_code == 0, done.output
    assert keys(bucket, "/evaluation.json")
    assert not (project.folder / "mlartifacts").exists()
    [code] = keys(bucket, "code/pinet_kedro/recommender.py")
    assert code.startswith(FOLDER)
    bucket.put_object(Key=code, Body=b"raise SystemExit('foreign code')")
    refused = project.run("--pipeline=batch_inference", "--env=test")
    assert refused.exit_code == 1
    assert "not those that were registered (changed: code/pinet_kedro/recommender.py)" in refused.output


def test_a_bucket_that_cannot_be_written_to_is_found_out(bucket):
    store.check_artifacts(f"s3://pinet-test/{FOLDER}")
    assert keys(bucket) == [f"{FOLDER}/.written_before_a_run"]
    with pytest.raises(InputError, match=r"s3://another/x cannot be written to: .*The specified bucket does not exist"):
        store.check_artifacts("s3://another/x")


def test_without_boto3_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(InputError, match=r"boto3.* which this address needs: pip install 'pinet-kedro\[s3\]'"):
        store.check_artifacts("s3://pinet-test/x")


# ---------------------------------------------------------------- raw data


@pytest.fixture
def log(bucket, tmp_path, monkeypatch):
    """A log in two files, in the bucket and in a folder of this machine: the folder."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", os.environ["MLFLOW_S3_ENDPOINT_URL"])
    events = generate_interactions(SyntheticLog(users=60, items=30, seed=3))
    half = len(events) // 2
    folder = tmp_path / "log"
    (folder / "new").mkdir(parents=True)
    events[:half].to_csv(folder / "a.csv", index=False)
    events[half:].to_parquet(folder / "new/b.parquet")
    for path in ("a.csv", "new/b.parquet"):
        bucket.upload_file(str(folder / path), f"log/{path}")
    bucket.put_object(Key="log/", Body=b"")  # what some programs write for a folder
    bucket.put_object(Key="log/_SUCCESS", Body=b"")
    bucket.put_object(Key="log2/c.csv", Body=b"another log")
    return folder


def clean(project, address, stage="data_validation", env="csv"):
    return project.run(f"--pipeline={stage}", f"--env={env}", f"--params=filepath={address}")


def stored(project):
    folder = project.folder / "data/02_intermediate"
    manifest = json.loads((folder / "clean_events.parquet.manifest.json").read_text())
    return (folder / "clean_events.parquet").read_bytes(), manifest["lineage"]["raw_interactions"]


def fetched(project):
    """What is there of each copy, so that another one shows."""
    found = (project.folder / "data/01_raw/fetched").rglob("[a-z]*.*")
    return {path.name: path.stat().st_mtime_ns for path in found if path.is_file()}


def test_a_log_in_s3_gives_the_events_of_the_same_files_here_and_is_fetched_once(log, bucket, project, monkeypatch):
    assert clean(project, log).exit_code == 0
    events, source = stored(project)
    done = clean(project, "s3://pinet-test/log")
    assert done.exit_code == 0, done.output
    there, named = stored(project)
    assert there == events
    assert named["content"] == source["content"]
    assert named["place"] == "s3://pinet-test/log"
    first = fetched(project)
    assert first.keys() == {"a.csv", "b.parquet"}

    assert clean(project, "s3://pinet-test/log").exit_code == 0
    assert fetched(project) == first

    text = (log / "a.csv").read_text()
    bucket.put_object(Key="log/a.csv", Body=text.replace("u00001,", "u00002,").encode())  # of the same size
    refused = clean(project, "s3://pinet-test/log", "activeness_stratification")
    assert refused.exit_code == 1
    assert "made from s3://pinet-test/log, which is not what this run names, s3://pinet-test/log: its content has" in (
        " ".join(refused.output.split())
    )
    second = fetched(project)
    assert second["a.csv"] != first["a.csv"]
    assert second["b.parquet"] == first["b.parquet"]
    assert clean(project, "s3://pinet-test/log").exit_code == 0
    assert stored(project)[0] != events

    bucket.put_object(Key="log/a.csv", Body=f"{text}u1,,1700000000\n".encode())
    refused = clean(project, "s3://pinet-test/log")
    assert "s3://pinet-test/log/a.csv: line" in refused.output
    assert str(project.folder / "data/01_raw") not in refused.output


def test_one_file_or_a_pattern_in_s3_is_prepared_by_duckdb_as_here(log, project):
    arrays = []
    for address in (log / "a.csv", "s3://pinet-test/log/a.csv", log / "*/*.parquet", "s3://pinet-test/log/*/*.parquet"):
        done = clean(project, address, env="duckdb")
        assert done.exit_code == 0, done.output
        folder = project.folder / "data/02_intermediate/clean_log"
        manifest = json.loads((folder / "manifest.json").read_text())
        assert manifest["lineage"]["raw_interactions"]["place"] == str(address).removeprefix(f"{project.folder}/")
        arrays.append((manifest["content"], manifest["lineage"]["raw_interactions"]["content"]))
    assert arrays[0] == arrays[1] != arrays[2] == arrays[3]


def test_a_stage_alone_needs_no_store_but_reading_does(log, project, monkeypatch, caplog):
    assert clean(project, "s3://pinet-test/log/a.csv").exit_code == 0
    with socket.create_server(("127.0.0.1", 0)) as gone:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{gone.getsockname()[1]}")
    done = clean(project, "s3://pinet-test/log/a.csv", "activeness_stratification")
    assert done.exit_code == 0, done.output
    assert (
        "changed since they were read is not known: s3://pinet-test/log/a.csv cannot be read: Could not connect"
        in caplog.text
    )
    for stage, name in (("data_validation", "a.csv"), ("activeness_stratification", "other.csv")):
        refused = clean(project, f"s3://pinet-test/log/{name}", stage)
        assert refused.exit_code == 1
        assert f"Error: s3://pinet-test/log/{name} cannot be read: Could not connect" in refused.output
        assert "Traceback" not in refused.output


def test_without_credentials_or_a_bucket_a_sentence_says_so(log, project, monkeypatch):
    refused = clean(project, "s3://no-such-bucket/log")
    assert "s3://no-such-bucket/log cannot be read:" in refused.output
    assert "The specified bucket does not exist" in refused.output
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    refused = clean(project, "s3://pinet-test/log")
    assert "s3://pinet-test/log cannot be read: Unable to locate credentials. Check" in refused.output


def test_raw_data_in_s3_need_boto3(monkeypatch):
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(InputError, match=r"s3://… is not installed .*: pip install 'pinet-kedro\[s3\]'"):
        raw_files("s3://pinet-test/log").are_there()
