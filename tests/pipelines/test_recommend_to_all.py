import pandas as pd
import pyarrow.parquet as pq


def test_the_named_version_recommends_to_all_users(own_copy, caplog):
    project = own_copy
    with caplog.at_level("INFO", logger="pinet_kedro"):
        parameters = "--params=batch_inference.version=challenger,batch_inference.k=3"
        result = project.run("--pipeline=batch_inference", "--env=test", parameters)
    assert result.exit_code == 0, result.output
    path = project.folder / "data/07_model_output/recommendations.parquet"
    table, users = pd.read_parquet(path), pd.read_parquet(project.folder / "data/04_feature/users.parquet")
    assert table["user_id"].tolist() == users["user_id"].tolist()
    assert table["items"].map(len).isin([2, 3]).all()  # who has seen 58 of the 60 items gets two
    assert (table["items"].map(len) == 3).mean() > 0.9
    assert set(table["stratum"]) == {"head", "tail"}
    metadata = pq.read_metadata(path).metadata
    assert set(table["model_version"]) == {metadata[b"model_version"].decode()}
    assert metadata[b"users"] == str(len(users)).encode()
    last = caplog.records[-1].getMessage()
    assert f"for {len(users):,} users" in last
    assert str(path) in last


def test_without_such_a_version_the_way_out_is_said(own_copy):
    before = own_copy.files()
    result = own_copy.run("--pipeline=batch_inference", "--env=test", "--params=batch_inference.version=champion")
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit), result.exception
    assert "has no alias 'champion'" in result.output
    assert "kedro promote" in result.output
    assert own_copy.files() == before
