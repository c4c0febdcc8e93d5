"""Hit rates of hand-made logs with known answers."""

import json

import numpy as np
import pandas as pd
import pytest

from pinet_kedro.errors import InputError
from pinet_kedro.evaluation.intervals import difference_of_shares, share_of_all
from pinet_kedro.feedback.answers import read_answers
from pinet_kedro.feedback.config import Feedback
from pinet_kedro.feedback.interactions import gather_since
from pinet_kedro.feedback.measure import compare, measure_feedback, measure_if_readable
from pinet_kedro.feedback.page import render_feedback
from pinet_kedro.feedback.report import FeedbackReport

HOUR = 3600 * 10**9
START = pd.Timestamp("2024-05-01T12:00:00.700Z").value
NOW = START + 1000 * HOUR
SPLIT = "champion=1:0.5,challenger=2:0.5;salt=1"


def line(user, hours=0.0, items=("a", "b"), **more):
    time = pd.Timestamp(START + round(hours * HOUR), tz="UTC").isoformat(timespec="milliseconds")
    return {
        "time": time, "user": user, "items": list(items), "scores": [1.0] * len(items), "stratum": "tail",
        "version": "1", "arm": "champion", "split": "", **more,
    }  # fmt: skip


def log(folder, lines, name="answers-1.jsonl", end="\n"):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("\n".join(json.dumps(entry) for entry in lines) + end)
    return read_answers(folder)


def events(*rows):
    """Interactions as (user, item, hours after the start)."""
    table = pd.DataFrame(rows, columns=["user_id", "item_id", "hours"])
    return table.assign(timestamp=START + (table.pop("hours") * HOUR).round().astype("int64"))


LATER = ("somebody", "else", 500)  # the log of interactions goes on


def rate(report, cell=0, group="all"):
    return report.cells[cell].groups[group]


def one_answer(tmp_path, *interactions, hours=24.0, **more):
    answers = log(tmp_path, [line("u", **more)])
    report = compare(answers, events(*interactions, LATER), Feedback(hours=hours, users=1), NOW)
    return None if report.missing else rate(report).hits


@pytest.mark.parametrize(
    ("interaction", "hits"),
    [
        (("u", "a", 1), 1), (("u", "b", 24), 1), (("u", "b", 24.001), 0), (("u", "c", 1), 0), (("u", "a", -1), 0),
        (("u", "a", -0.5 / 3600), 1),  # in the same second
        (("u", "a", -0.8 / 3600), 0), (("u", "b", 0), 1),
    ],
)  # fmt: skip
def test_a_hit_is_a_recommended_item_taken_by_the_same_user_in_time(tmp_path, interaction, hits):
    assert one_answer(tmp_path, interaction, ("u", "c", 2)) == hits


def test_another_users_interaction_is_no_hit(tmp_path):
    assert one_answer(tmp_path, ("v", "a", 1), ("u", "c", 1)) == 0


def test_ids_are_those_of_interactions_whatever_their_spelling_in_the_request(tmp_path):
    answers = log(tmp_path, [line(" 7.0", items=["12"])])
    report = compare(answers, events(("7", "12", 1), LATER), Feedback(users=1), NOW)
    assert rate(report).hits == 1


def test_several_hits_of_one_answer_count_once_and_an_answer_is_one_user_at_one_time(tmp_path):
    answers = log(tmp_path, [line("u"), line("u", items=["z"]), line("u", hours=1)])
    report = compare(answers, events(("u", "a", 2), ("u", "b", 2), ("u", "z", 2), LATER), Feedback(users=1), NOW)
    assert (rate(report).answers, rate(report).hits) == (2, 2)


def test_answers_whose_hours_have_not_passed_do_not_count_hit_or_not(tmp_path):
    answers = log(tmp_path, [line("u", 0), line("v", 10), line("w", 11)])
    report = compare(answers, events(("u", "a", 1), ("w", "a", 12), ("x", "x", 34)), Feedback(users=1), NOW)
    assert (report.logged, report.censored, report.counted, rate(report).hits) == (3, 1, 2, 1)


def test_interactions_from_the_future_do_not_make_an_answer_count(tmp_path):
    answers = log(tmp_path, [line("u", 0)])
    report = compare(answers, events(("u", "a", 1), LATER), Feedback(users=1), START + 3 * HOUR)
    assert report.censored == 1
    assert "no answer is at least 24 and at most 672 h older" in report.missing


def test_answers_older_than_the_window_do_not_count(tmp_path):
    answers = log(tmp_path, [line("u", 0), line("u", 400)])
    report = compare(answers, events(("u", "a", 401), LATER), Feedback(days=7, users=1), NOW)
    assert (report.old, report.counted, rate(report).hits) == (1, 1, 1)


@pytest.fixture(scope="module")
def split_log(tmp_path_factory):
    """400 users, 100 of them head, half of them in each arm; every user is answered twice. Champion: one answer in ten
    is a hit, challenger: three in ten."""
    lines, taken = [], []
    for n in range(400):
        arm = {"arm": "challenger", "version": "2"} if n % 2 else {}
        for hours in (0, 30):
            lines.append(line(f"u{n}", hours, stratum="head" if n < 100 else "tail", split=SPLIT, **arm))
            if (n // 2) % 10 < (3 if n % 2 else 1):
                taken.append((f"u{n}", "a", hours + 1))
        taken.append((f"u{n}", "c", 1))
    folder = tmp_path_factory.mktemp("split")
    return log(folder, lines), events(*taken, LATER)


def test_known_rates_by_arm_and_stratum_with_intervals_over_users(split_log):
    report = compare(*split_log, Feedback(), NOW)
    challenger, champion = report.cells
    assert [cell.label for cell in report.cells] == ["challenger (version 2)", "champion (version 1)"]
    assert (champion.groups["all"].users, champion.groups["all"].answers) == (200, 400)
    assert champion.groups["all"].rate == pytest.approx(0.1)
    assert challenger.groups["all"].rate == pytest.approx(0.3)
    assert challenger.groups["head"].rate == pytest.approx(0.3)
    assert (challenger.groups["head"].users, challenger.groups["tail"].users) == (50, 150)
    # Both answers of a user are hits or not: 200 users, not 400 answers.
    half = 1.96 * np.sqrt(0.3 * 0.7 / 200)
    assert challenger.groups["all"].high - challenger.groups["all"].low == pytest.approx(2 * half, rel=0.1)


def test_the_difference_of_the_arms_is_shown_and_said_to_be_randomised(split_log):
    report = compare(*split_log, Feedback(), NOW)
    [found] = report.differences
    assert (found.arm, found.against) == ("challenger", "champion")
    gap = found.groups["all"]
    assert gap.difference == pytest.approx(0.2)
    assert 0.1 < gap.low < 0.15 < 0.25 < gap.high < 0.3
    first = report.sentences()[0]
    assert first.startswith(
        "Feedback: challenger (version 2) against champion (version 1): all users +20.0 points [+12"
    )
    assert first.endswith("(users were assigned at random).")
    page = render_feedback(report)
    assert "challenger − champion" in page
    assert "800 of 800 logged answers count, until 2024-05-22" in page


def test_one_version_is_an_observation(tmp_path):
    answers = log(tmp_path, [line(f"u{n}") for n in range(40)])
    report = compare(answers, events(*((f"u{n}", "a", 1) for n in range(10)), LATER), Feedback(), NOW)
    [sentence] = report.sentences()
    assert "champion (version 1): recommended and then taken within 24 h: all users 25.0 % [" in sentence
    assert "this is observed, not compared at random" in sentence
    assert report.differences == ()


def test_shares_that_have_changed_are_apart(tmp_path):
    other = "champion=1:0.9,challenger=2:0.1"
    lines = [line(f"u{n}", split=SPLIT) for n in range(30)] + [line(f"v{n}", split=other) for n in range(30)]
    lines += [line(f"w{n}", hours=5, split=other, version="2", arm="challenger") for n in range(30)]
    report = compare(log(tmp_path, lines), events(("v1", "a", 1), LATER), Feedback(), NOW)
    assert [(cell.split, cell.arm) for cell in report.cells] == [
        (SPLIT, "champion"), (other, "challenger"), (other, "champion"),
    ]  # fmt: skip
    assert [found.split for found in report.differences] == [other]


def test_few_users_are_not_measured_and_no_hit_is_not_certain(tmp_path):
    lines = [line(f"u{n}", stratum="head" if n < 29 else "tail") for n in range(60)]
    report = compare(log(tmp_path, lines), events(("u1", "c", 1), LATER), Feedback(), NOW)
    assert rate(report, group="head").text() == "not measured (29 users)"
    assert rate(report, group="tail").rate == 0
    assert rate(report, group="tail").high == pytest.approx(1 - 0.025 ** (1 / 31))
    assert "not measured (29 users)" in render_feedback(report)


def test_the_interval_is_that_of_the_plain_bootstrap_over_users():
    rng = np.random.default_rng(1)
    tries = rng.integers(1, 6, 300)
    hits = rng.binomial(tries, 0.3)
    users = rng.integers(0, 300, (4000, 300))
    expected = np.percentile(hits[users].sum(1) / tries[users].sum(1), [2.5, 97.5])
    share, *ends = share_of_all(hits, tries)
    assert share == hits.sum() / tries.sum()
    np.testing.assert_allclose(ends, expected, atol=0.004)


def test_the_difference_has_newcombes_interval():
    # Newcombe (1998), table II, 56/70 against 48/80 by method 10.
    wilson = {"56/70": (0.8, 0.6918, 0.8772), "48/80": (0.6, 0.4904, 0.7003)}
    difference, low, high = difference_of_shares(wilson["56/70"], wilson["48/80"])
    assert (difference, low, high) == pytest.approx((0.2, 0.0524, 0.3339), abs=3e-4)


REASONS = {
    "no log": (None, [LATER], "no answer to a user is logged in log \\(serving.log.enabled\\)"),
    "no interaction": ([line("u")], [], "no interaction is newer than the first logged answer \\(2024-05-01"),
    "older interactions": ([line("u")], [("u", "a", -1)], "no interaction is newer"),
    "dates only": (
        [line("u")],
        [("u", "a", (pd.Timestamp("2024-05-02").value - START) / HOUR)],
        "date without a time of day",
    ),
    "all censored": ([line("u")], [("u", "a", 1)], "no answer is at least 24"),
    "other users": ([line("u")], [("U", "a", 1), LATER], "none of the answered users has an interaction"),
}


@pytest.mark.parametrize("case", REASONS)
def test_nothing_to_report_is_said_in_words(tmp_path, monkeypatch, case):
    lines, rows, words = REASONS[case]
    monkeypatch.chdir(tmp_path)
    if lines:
        log(tmp_path / "log", lines)
    table = events(*rows) if rows else events(LATER).head(0)
    report = measure_feedback("log", {"part": lambda: table}, ["part"], Feedback(users=1))
    assert pd.Series([report.missing]).str.contains(words).all(), report.missing
    assert report.sentences()[0].startswith("Feedback: not measured: ")
    assert "not measured" in render_feedback(report)


def test_one_file_of_dates_beside_one_of_times_is_named(tmp_path, monkeypatch):
    """Its events would count as taken at midnight: before an answer of the same day."""
    monkeypatch.chdir(tmp_path)
    log(tmp_path / "log", [line("u")])
    midnight = (pd.Timestamp("2024-05-02").value - START) / HOUR
    parts = {"times": lambda: events(("u", "a", 1), LATER), "dates": lambda: events(("u", "a", midnight))}
    report = measure_feedback("log", parts, list(parts), Feedback(users=1))
    assert "without a time of day in dates: " in report.missing


def test_a_line_that_a_killed_writer_has_left_is_skipped_and_counted(tmp_path):
    log(tmp_path, [line("u"), line("v")], end='\n{"time": "2024-05-0')
    log(tmp_path, [line("w")], "answers-2.jsonl", end="\n\0\0\0")
    answers = log(tmp_path, [], "answers-3.jsonl", end="")
    assert (len(answers.table), answers.skipped) == (3, 2)
    report = compare(answers, events(("u", "a", 1), LATER), Feedback(users=1), NOW)
    assert "2 incomplete lines were skipped" in report.counts()


DAMAGE = {
    "not JSON": ('{"time": "2024', "line 2: it is not JSON"),
    "a list": ("[1]", "line 2: it is not a JSON object"),
    "no user": (json.dumps({k: v for k, v in line("u").items() if k != "user"}), "line 2: 'user' is missing"),
    "a number": (json.dumps(line("u") | {"user": 7}), "line 2: 'user' is missing or is not text"),
    "no items": (json.dumps(line("u") | {"items": None}), "line 2: 'items' is missing"),
    "no item": (json.dumps(line("u") | {"items": ["a", None]}), "line 2: 'items' is missing or is not a list"),
    "no time": (json.dumps(line("u") | {"time": "noon"}), "line 2: 'noon' is not a time"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_other_damage_is_a_sentence_with_file_and_line(tmp_path, monkeypatch, case):
    text, words = DAMAGE[case]
    (tmp_path / "answers-1.jsonl").write_text("\n".join([json.dumps(line("u")), text, json.dumps(line("v"))]) + "\n")
    with pytest.raises(InputError, match=rf"answers-1.jsonl, {words}"):
        read_answers(tmp_path)
    monkeypatch.chdir(tmp_path)
    report = measure_if_readable(".", {}, [], Feedback())  # retraining goes on
    assert words in report.missing


def test_bytes_that_are_no_text_are_damage(tmp_path):
    (tmp_path / "answers-1.jsonl").write_bytes(json.dumps(line("u")).encode() + b'\n{"user": "\xff"}\n')
    with pytest.raises(InputError, match="line 2: it is not JSON"):
        read_answers(tmp_path)


def test_a_report_is_stored_and_read_again(split_log):
    report = compare(*split_log, Feedback(), NOW)
    assert FeedbackReport.model_validate_json(report.model_dump_json()) == report


def test_interactions_are_gathered_from_a_time_on(tmp_path):
    parts = {"b": lambda: events(("u", "a", 0), ("u", "b", 2)), "a": lambda: events(("v", "a", 3))}
    found, dated = gather_since(parts, ["b", "a"], START + HOUR)
    assert not dated
    assert found["item_id"].tolist() == ["a", "b"]
    assert gather_since({}, [], 0)[0].empty
    with pytest.raises(InputError, match="partition b has events without user, item or time"):
        gather_since({"b": lambda: events(("u", None, 0))}, ["b"], 0)
