"""`kedro recommend` and `kedro similar`: the answers of batch inference with titles and reasons, and sentences."""

import sqlite3
from contextlib import closing

import pandas as pd
import pytest
import yaml

TEST, CHALLENGER = "--env=test", "--version=challenger"


@pytest.fixture(scope="module")
def titled(finished, tmp_path_factory):
    """The finished project, with titles for all items but one, and its recommendations to all users."""
    project = finished.copy(tmp_path_factory.mktemp("titled") / "project")
    ids = pd.read_parquet(project.folder / "data/04_feature/items.parquet")["item_id"].tolist()
    items = pd.DataFrame({"sku": ids[1:], "name": [f"The [bold]{item[1:]}\x1b[2J" for item in ids[1:]]})
    items.to_csv(project.folder / "items.csv", index=False)
    catalog = project.folder / "conf/test/catalog.yml"
    entries = yaml.safe_load(catalog.read_text())
    entries["item_metadata"] = {
        "type": "pinet_kedro.datasets.items.ItemMetadataDataset",
        "filepath": "items.csv",
        "columns": {"item": "sku", "title": "name"},
    }
    catalog.write_text(yaml.safe_dump(entries))
    for arguments in (
        ["--pipeline=activeness_stratification"],
        ["--pipeline=batch_inference", "--params=batch_inference.version=challenger"],
    ):
        result = project.run(TEST, *arguments)
        assert result.exit_code == 0, result.output
    return project


def rows(result):
    """Cells of the table."""
    assert result.exit_code == 0, result.output
    table = [line.strip("│").split("│") for line in result.output.splitlines() if line.startswith("│")]
    return [[cell.strip() for cell in row] for row in table]


def test_a_user_gets_what_batch_inference_gives_with_titles_beside_the_ids(titled):
    known = pd.read_parquet(titled.folder / "data/07_model_output/recommendations.parquet").set_index("user_id")
    user = known.index[3]
    shown = rows(titled.invoke("recommend", user, "--k=5", TEST, CHALLENGER))
    assert [row[2] for row in shown] == known.loc[user, "items"].tolist()[:5]
    assert [float(row[3]) for row in shown] == pytest.approx(known.loc[user, "scores"].tolist()[:5], abs=0.0051)
    for _, title, item, _ in shown:
        assert title in (rf"The [bold]{item[1:]}\x1b[2J", "–")  # neither markup nor control codes


def test_explained_scores_are_the_sum_of_what_is_shown(titled):
    result = titled.invoke("recommend", "--history=i00003, i00009,i00004", "--k=4", "--explain", TEST, CHALLENGER)
    *shown, average = rows(result)
    assert len(shown) == 4
    assert average[1] == "average item"
    for row in [*shown, average]:
        score, *parts = map(float, row[3:9])
        assert sum(parts) == pytest.approx(score, abs=0.035)
    assert any("i0000" in row[9] for row in shown)
    assert "3 events, the newest first: The [bold]00004" in result.output


def test_a_history_older_than_what_the_version_has_learnt_is_no_secret(titled):
    """As after a retraining or a refresh, whose events are not among the prepared data."""
    assert "has learnt events until" not in titled.invoke("recommend", "u00001", TEST, CHALLENGER).output
    with closing(sqlite3.connect(titled.folder / "mlflow.db")) as database:
        change = "UPDATE model_version_tags SET value = CAST(value + ? AS INTEGER) WHERE key = 'learnt.until'"
        database.execute(change, (400 * 86_400 * 10**9,))
        database.commit()
        of_user = titled.invoke("recommend", "u00001", TEST, CHALLENGER)
        of_items = titled.invoke("recommend", "--history=i00003", TEST, CHALLENGER)
        database.execute(change, (-400 * 86_400 * 10**9,))
        database.commit()
    assert "Version 1 has learnt events until 20" in of_user.output
    assert "what the user has taken since is not known here" in of_user.output
    assert of_items.exit_code == 0
    assert "has learnt events until" not in of_items.output


def test_filters_are_options(titled):
    """Even and odd items are categories; every fifth one has `fifth` as well."""
    everything = [row[2] for row in rows(titled.invoke("recommend", "--history=i00003", "--k=60", TEST, CHALLENGER))]
    odd = [item for item in everything if int(item[1:]) % 2 and int(item[1:]) % 5 and item != "i00059"]
    given = ["--categories=odd", "--not-categories=fifth", f"--exclude={odd[0]}", f"--only={','.join(everything[:40])}"]
    shown = titled.invoke("recommend", "--history=i00003", "--k=60", *given, "--min-categories=2", TEST, CHALLENGER)
    assert [row[2] for row in rows(shown)] == [item for item in everything[:40] if item in odd[1:]]
    assert "Categories among these items: 1, asked for: 2. No item that may be shown would add one." in shown.output


def test_near_items_are_shown_by_vectors_and_by_memory(titled):
    result = titled.invoke("similar", "i00003", "--k=3", TEST, CHALLENGER)
    assert len(rows(result)) == 6
    assert result.output.index("By the item vectors") < result.output.index("By the memory")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["recommend", "u0001"], 1, ["no user 'u0001'", "users.parquet", "did you mean 'u00"]),
        (["recommend", "--history=i00003,i0004"], 1, ["no item 'i0004'", "did you mean"]),
        (["recommend", "--history=i00003,,i00004"], 1, ["an id is missing", "--history=50,181"]),
        (["recommend", "--history="], 1, ["an id is missing"]),
        (["recommend", "--history=i00003", "--only=i00003,i0004"], 1, ["no item 'i0004'", "did you mean"]),
        (["recommend", "--history=i00003", "--categories=evn,odd"], 1, ["category 'evn'", "did you mean 'even'?"]),
        (["recommend", "--history=i00003", "--not-categories=,"], 1, ["a name is missing", "Comedy,Drama"]),
        (["recommend"], 2, ["name a USER"]),
        (["recommend", "u00001", "--history=i00003"], 2, ["name a USER"]),
        (["similar", "the [bold]00004"], 1, ["no item", "(i00004)"]),
        (["recommend", "u00001", "--version=99"], 1, ["no version 99"]),
    ],
)
def test_what_is_unknown_is_a_sentence(titled, arguments, code, words):
    given = [] if any("--version" in argument for argument in arguments) else [CHALLENGER]
    result = titled.invoke(*arguments, TEST, *given)
    assert result.exit_code == code, result.output
    assert isinstance(result.exception, SystemExit), result.exception
    assert all(word in result.output for word in words), result.output


def test_without_a_champion_the_way_out_is_said(titled):
    result = titled.invoke("recommend", "u00001", TEST)
    assert result.exit_code == 1
    assert "has no alias 'champion'" in result.output
    assert "kedro run --pipeline=promotion" in result.output
    assert "'challenger'" in result.output


def test_users_that_were_changed_by_hand_are_refused(titled):
    path = titled.folder / "data/04_feature/users.parquet"
    stored = path.read_bytes()
    try:
        pd.read_parquet(path).iloc[::-1].to_parquet(path)
        result = titled.invoke("recommend", "u00001", TEST, CHALLENGER)
    finally:
        path.write_bytes(stored)
    assert result.exit_code == 1
    assert "users.parquet is not what its manifest describes" in result.output
