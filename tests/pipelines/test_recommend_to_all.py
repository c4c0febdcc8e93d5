import pandas as pd
import pyarrow.parquet as pq
import pytest


def test_the_named_version_recommends_to_all_users(own_copy, caplog):
    project = own_copy
    with caplog.at_level("INFO", logger="pinet_kedro"):
        parameters = "--params=batch_inference.version=challenger,batch_inference.k=3,batch_inference.explain=true"
        result = project.run("--pipeline=batch_inference", "--env=test", parameters)
    assert result.exit_code == 0, result.output
    path = project.folder / "data/07_model_output/recommendations.parquet"
    table, users = pd.read_parquet(path), pd.read_parquet(project.folder / "data/04_feature/users.parquet")
    assert table["user_id"].tolist() == users["user_id"].tolist()
    assert table["items"].map(len).isin([2, 3]).all()  # who has seen 58 of the 60 items gets two
    assert (table["items"].map(len) == 3).mean() > 0.9
    assert set(table["stratum"]) == {"head", "tail"}
    for row in table.itertuples():
        for score, why in zip(row.scores, row.explained, strict=True):
            assert sum(why["contributions"].values()) == pytest.approx(score, rel=1e-3, abs=1e-3)
    metadata = pq.read_metadata(path).metadata
    assert set(table["model_version"]) == {metadata[b"model_version"].decode()}
    assert metadata[b"users"] == str(len(users)).encode()
    last = caplog.records[-1].getMessage()
    assert f"for {len(users):,} users (0 new; 0 of the version's users are missing)" in last
    assert str(path) in last


def test_where_users_of_the_version_are_missing_nothing_is_written_and_the_old_file_stays(own_copy):
    project, champion = own_copy, "batch_inference.version=challenger"
    assert project.run("--pipeline=batch_inference", "--env=test", f"--params={champion}").exit_code == 0
    path = project.folder / "data/07_model_output/recommendations.parquet"
    before = path.read_bytes(), len(pd.read_parquet(path))
    fewer = "cleaning.min_user_events=12"  # a mistake in preparation
    for stage in ("data_validation", "activeness_stratification"):
        assert project.run(f"--pipeline={stage}", "--env=test", f"--params={fewer}").exit_code == 0
    left = len(pd.read_parquet(project.folder / "data/04_feature/users.parquet"))
    done = project.run("--pipeline=batch_inference", "--env=test", f"--params={champion},{fewer}")
    assert done.exit_code == 1
    told = " ".join(done.output.split())
    assert f"was made for {before[1]} users, and {before[1] - left} of them" in told
    assert "Traceback" not in told
    assert path.read_bytes() == before[0]
    allowed = f"--params={champion},{fewer},batch_inference.missing_users=0.9"
    assert project.run("--pipeline=batch_inference", "--env=test", allowed).exit_code == 0
    assert len(pd.read_parquet(path)) == left


def test_without_such_a_version_the_way_out_is_said(own_copy):
    before = own_copy.files()
    result = own_copy.run("--pipeline=batch_inference", "--env=test", "--params=batch_inference.version=champion")
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit), result.exception
    assert "has no alias 'champion'" in result.output
    assert "kedro promote" in result.output
    assert own_copy.files() == before
