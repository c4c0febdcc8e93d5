"""Files of runs and versions in S3, on a server of moto in this process."""

import sys

import boto3
import pytest
import yaml
from moto.server import ThreadedMotoServer

from pinet_kedro.errors import InputError
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
