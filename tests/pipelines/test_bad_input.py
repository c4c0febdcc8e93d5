"""What a user sees when something is wrong: one message, no traceback, nothing half-written."""

import numpy as np
import pandas as pd
import pytest
import yaml


def good_events(users=40, items=30, seed=0):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(8, 30, users)
    user = np.repeat(np.arange(users), lengths)
    return pd.DataFrame(
        {
            "uid": [f"u{u}" for u in user],
            "sku": [f"i{i}" for i in rng.integers(0, items, len(user))],
            "time": 1_600_000_000 + np.arange(len(user)) * 60,
        }
    )


def run_csv(project, events, *more, name="events.csv"):
    events.to_csv(project.folder / name, index=False)
    parameters = f"filepath={name},user=uid,item=sku,timestamp=time"
    return project.run("--pipeline=data_validation", "--env=csv", f"--params={parameters}", *more)


def assert_refused(project, result, *words):
    assert result.exit_code == 1, result.output
    assert isinstance(result.exception, SystemExit), result.exception
    assert "Traceback" not in result.output
    for word in words:
        assert word in result.output, result.output
    left = {path for path in project.files() if "data_docs" not in path and path != "08_reporting/index.html"}
    assert not left, left


def replaced(column, value, rows=slice(0, 3)):
    events = good_events().astype(object)
    events.loc[events.index[rows], column] = value
    return events


BAD_EVENTS = {
    "missing column": (good_events().drop(columns="time"), ["events.csv", "time"]),
    "no rows": (good_events().iloc[:0], ["events.csv"]),
    "NaN ids": (replaced("uid", None), ["events.csv", "uid", "3"]),
    "unreadable times": (replaced("time", "yesterday"), ["events.csv", "time", "yesterday"]),
    "one user": (good_events().assign(uid="u1"), ["events.csv", "uid"]),
    "one item": (good_events().assign(sku="i1"), ["events.csv", "sku"]),
    "future times": (good_events().assign(time=lambda e: e["time"] + 10**10), ["events.csv", "time"]),
}


@pytest.mark.parametrize("case", BAD_EVENTS)
def test_bad_events_are_refused_with_file_and_column(project, case):
    events, words = BAD_EVENTS[case]
    assert_refused(project, run_csv(project, events), *words)


def test_users_of_equal_activeness_are_refused(project):
    events = good_events(items=10)
    events = events.groupby("uid", sort=False).head(8)
    assert_refused(project, run_csv(project, events), "activeness")


def test_an_empty_file_is_refused_by_name(project):
    (project.folder / "events.csv").write_bytes(b"")
    result = project.run("--pipeline=data_validation", "--env=csv", "--params=filepath=events.csv")
    assert_refused(project, result, "events.csv", "empty")


def test_csv_without_a_file_says_which_parameter_is_missing(project):
    assert_refused(project, project.run("--pipeline=data_validation", "--env=csv"), "filepath")


def test_a_file_that_is_not_there_is_named(project):
    result = project.run("--pipeline=data_validation", "--env=csv", "--params=filepath=nowhere.csv")
    assert_refused(project, result, "nowhere.csv", "no such file")


def test_a_truncated_download_is_not_used(project):
    path = project.folder / "data/01_raw/ml-100k.inter"
    path.parent.mkdir(parents=True)
    path.write_text("user_id:token\titem_id:token\trating:float\ttimestamp:float\n1\t2\t3\t881250949\n")
    result = project.run("--pipeline=data_validation")
    assert result.exit_code == 1
    assert "ml-100k.inter" in result.output
    assert "sha256" in result.output
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("parameter", "words"),
    [
        ("clening.min_user_events=3", ["clening", "cleaning"]),
        ("cleaning.min_users=3", ["min_users", "min_user_events"]),
        ("cleaning.min_user_events=many", ["min_user_events", "many"]),
        ("cleaning.min_user_events=1", ["min_user_events", "3"]),
        ("filepath=x.csv", ["filepath", "--env=csv"]),
    ],
)
def test_a_wrong_parameter_is_named_before_any_work(project, parameter, words):
    result = project.run("--pipeline=data_validation", "--env=test", f"--params={parameter}")
    assert_refused(project, result, *words)


def test_an_unknown_pipeline_is_named(project):
    assert_refused(project, project.run("--pipeline=ful", "--env=test"), "'ful'", "full")


def test_a_threshold_without_a_rating_column_is_refused(project):
    result = run_csv(project, good_events(), "--params=filepath=events.csv,user=uid,item=sku,timestamp=time,"
                     "cleaning.rating_threshold=4")  # fmt: skip
    assert_refused(project, result, "rating_threshold", "rating")


def test_a_data_folder_that_cannot_be_written_is_found_out_first(project):
    data = project.folder / "data"
    data.mkdir()
    (data / "02_intermediate").write_text("a file where the folder should be")
    result = project.run("--pipeline=data_validation", "--env=test")
    assert result.exit_code == 1
    assert "02_intermediate" in result.output
    assert "Traceback" not in result.output


def test_a_history_too_short_for_the_split_is_refused():
    from pinet_kedro.errors import InputError
    from pinet_kedro.interactions.sequences import build_sequences
    from pinet_kedro.interactions.split import ExcludeSeen, Splitting, split_sequences

    events = pd.DataFrame({"user_id": ["a", "a"], "item_id": ["x", "y"], "timestamp": [1, 2]})
    with pytest.raises(InputError, match="needs 3 events"):
        split_sequences(build_sequences(events)[0], Splitting(), ExcludeSeen(False))


def test_own_data_pass_in_one_command(project):
    result = run_csv(project, good_events())
    assert result.exit_code == 0, result.output
    assert "02_intermediate/clean_events.parquet" in project.files()


def test_names_of_files_and_columns_do_not_command_the_terminal(project):
    name, column = "a\x1b[2J\u202e\nError: all is well.csv", "ti\x1b]0;title\x07me"
    replaced("uid", None).rename(columns={"time": column}).to_csv(project.folder / name, index=False)
    columns = {"user": "uid", "item": "sku", "timestamp": column}
    catalog = project.folder / "conf/csv/catalog.yml"
    entry = yaml.safe_load(catalog.read_text())["raw_interactions"] | {"filepath": name, "columns": columns}
    catalog.write_text(yaml.safe_dump({"raw_interactions": entry}))
    result = project.run("--pipeline=data_validation", "--env=csv")
    assert_refused(project, result, r"a\x1b[2J\u202e\nError: all is well.csv: ", r"\x1b]0;title\x07me")
    assert not [character for character in result.output if character != "\n" and not character.isprintable()]
