"""Every gate holds and fails where it should, and says what it has measured."""

from dataclasses import replace

import pytest

from pinet_kedro.activeness import ReportingStrata, Strata
from pinet_kedro.datasets.manifests import FORMAT, Entry, Manifest
from pinet_kedro.evaluation.challenge import Challenge
from pinet_kedro.promotion.config import Bound, Gates
from pinet_kedro.promotion.decision import Decision, Gate, outcome_of
from pinet_kedro.promotion.fresh_process import FreshProcessResult
from pinet_kedro.promotion.gates import GateInputs, judge, judge_validation, measured_groups
from pinet_kedro.promotion.page import render_promotion

STRATA = ReportingStrata(
    training=Strata(thresholds=(5,)), head_tail=Strata(thresholds=(9,)), quintiles=Strata(thresholds=(2, 4, 6, 9))
)
GROUPS = ("all", "head", "tail", "q1", "q2", "q3", "q4", "q5")
VALID = Gate(name="validation", passed=True, measured="2 suites passed", asked="all")
ANSWER = FreshProcessResult(None, load_s=2.0, request_ms=5.0)


def group(low, mean, high, users=100):
    return {
        "users": users, "challenger": 0.1 * (1 + mean), "reference": 0.1,
        "gain": {"relative": mean, "low": low, "high": high},
    }  # fmt: skip


def trial(coverage=0.5, shared_items=1.0, **changed):
    groups = {name: group(0.01, 0.05, 0.09) for name in GROUPS} | changed
    return Challenge(groups, coverage, 0.4, (0, 0), shared_items=shared_items)


SIZE = {"data.users": "100", "data.items": "50", "data.events": "1000"}


def judged(held=None, answer=ANSWER, validation=VALID, tags=None, config=None, champion=SIZE, learnt=None, users=1.0):
    mine, found = SIZE | (tags or {}), held or trial()
    return judge(GateInputs(config or Gates(), found, answer, validation, mine, STRATA, champion, learnt, users))


def failed(*given, **more):
    """Names of the gates that do not pass; all of them are there in any case."""
    gates = judged(*given, **more)
    assert [gate.name for gate in gates] == [
        "tail gain", "head gain", *(f"quintile {q}" for q in range(1, 6)), "coverage", "catalogue", "users", "targets",
        "data",
        "validation", "fresh process", "latency", "history",
    ]  # fmt: skip
    assert all(gate.measured and gate.asked for gate in gates)
    return {gate.name for gate in gates if not gate.passed}


def test_a_challenger_that_gains_everywhere_passes_all():
    assert failed() == set()


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"tail": group(-0.001, 0.05, 0.1)}, {"tail gain"}),  # a gain of the tail has to be shown …
        ({"tail": group(0.0, 0.0, 0.0)}, {"tail gain"}),  # … and the same model is none
        ({"head": group(-0.2, -0.009, 0.2)}, set()),
        ({"head": group(-0.2, -0.011, 0.2)}, {"head gain"}),
        ({"q2": group(-0.2, -0.1, 0.05)}, set()),  # a loss of a quintile refuses where it is shown
        ({"q2": group(-0.2, -0.1, -0.021)}, {"quintile 2"}),
        ({"q1": group(-0.3, -0.2, -0.1), "tail": group(-0.3, -0.2, -0.1)}, {"quintile 1", "tail gain"}),
        ({"coverage": 0.09}, {"coverage"}),
        ({"shared_items": 0.4}, {"catalogue"}),
    ],
)
def test_each_group_has_its_own_bound(changed, expected):
    assert failed(trial(**changed)) == expected


@pytest.mark.parametrize(("by", "above", "passes"), [("low", 0.0, True), ("low", 0.02, False), ("mean", 0.04, True),
                         ("mean", 0.06, False), ("high", 0.08, True), ("high", 0.1, False)])  # fmt: skip
def test_by_chooses_the_end_of_the_interval(by, above, passes):
    assert ("head gain" not in failed(config=Gates(head=Bound(above=above, by=by, users=1)))) is passes


def test_a_reference_that_never_succeeds_is_nothing_to_lose():
    never = {"relative": None, "low": None, "high": None}
    zero = {"users": 500, "challenger": 0.0, "reference": 0.0, "gain": never}
    assert failed(trial(tail=zero, head=zero, q1=zero)) == {"tail gain"}
    assert failed(trial(tail={**zero, "challenger": 0.1})) == set()


def test_a_group_with_too_few_users_is_not_measured_and_never_passes():
    held = trial(tail=group(0.1, 0.2, 0.3, users=99), q2=group(0.1, 0.2, 0.3, users=29))
    del held.groups["head"]
    assert failed(held) == {"tail gain", "head gain", "quintile 2"}
    verdicts = {gate.name: (gate.verdict, gate.measured) for gate in judged(held)}
    assert verdicts["tail gain"] == ("not measured", "99 users, 100 are needed")
    assert verdicts["head gain"] == ("not measured", "0 users, 30 are needed")
    assert verdicts["quintile 1"][0] == "passed"
    few = Bound(above=0.0, by="low", users=99)
    assert failed(held, config=Gates(tail=few)) == {"head gain", "quintile 2"}


def test_the_first_version_must_be_better_than_popularity_beyond_doubt():
    doubtful = trial(all=group(-0.01, 0.5, 1.2), head=group(-0.2, -0.001, 1.2))
    assert failed(doubtful) == set()
    assert {gate.name for gate in judged(doubtful, champion=None) if not gate.passed} == {"all gain", "head gain"}
    assert {gate.name for gate in judged(champion=None)}.isdisjoint({"catalogue", "users", "data"})


def test_a_version_that_knows_few_of_the_champions_users_fails_and_an_unknown_share_is_not_measured():
    assert failed(users=0.499) == {"users"}
    assert failed(users=0.5) == set()
    assert failed(users=0.9, config=Gates(shared_users=1.0)) == {"users"}
    (gate,) = (gate for gate in judged(users=0.544) if gate.name == "users")
    assert gate.measured == "knows 54.4 % of the champion's users"
    assert failed(users=None) == {"users"}
    (gate,) = (gate for gate in judged(users=None) if gate.name == "users")
    assert gate.verdict == "not measured"


def test_a_version_of_much_less_data_than_the_champion_fails_and_says_of_what():
    (gate,) = (gate for gate in judged(tags={"data.events": "499"}) if gate.name == "data")
    assert (gate.verdict, gate.value) == ("failed", 0.499)
    assert gate.measured == "users 100 (100 %), items 50 (100 %), events 499 (50 %)"
    assert failed(tags={"data.events": "500"}) == set()
    unknown = [gate for gate in judged(champion={"decision": "promoted"}) if not gate.passed]
    assert [(gate.name, gate.verdict) for gate in unknown] == [("data", "not measured")]


def test_a_version_that_may_have_learnt_the_targets_fails():
    assert failed(learnt="it was trained on other data") == {"targets"}


def test_a_version_that_does_not_answer_fails_whatever_needs_an_answer():
    fault = FreshProcessResult("no answer within 1 s")
    measured = {"tail gain", "head gain", *(f"quintile {q}" for q in range(1, 6)), "coverage", "catalogue"}
    assert failed("it does not answer", fault) == {*measured, "fresh process", "latency"}


def test_a_gain_of_a_few_hits_is_not_measured():
    """One hit among many users has an interval without width, whichever users are drawn."""
    one = {
        "users": 400,
        "hits": 1,
        "challenger": 0.002,
        "reference": 0.001,
        "gain": {"relative": 1.0, "low": 1.0, "high": 1.0},
    }
    held = trial()
    few = replace(held, groups=held.groups | {"tail": one})
    gate = next(g for g in judge(GateInputs(Gates(), few, ANSWER, VALID, {}, STRATA)) if g.name == "tail gain")
    assert gate.unmeasured
    assert gate.measured == "1 of 400 users has a hit with one of the two, 10 are needed"
    enough = replace(held, groups=held.groups | {"tail": one | {"hits": 10}})
    gate = next(g for g in judge(GateInputs(Gates(), enough, ANSWER, VALID, {}, STRATA)) if g.name == "tail gain")
    assert gate.passed


def test_a_gain_that_the_gate_does_not_measure_has_no_interval_on_the_page():
    held = trial(tail=group(0.01, 0.05, 0.09, users=99), q1=group(0.01, 0.05, 0.09) | {"hits": 9})
    found = measured_groups(held, Gates())
    assert {name for name, values in found.items() if values["gain"]["low"] is None} == {"tail", "q1"}
    unmeasured = {gate.name for gate in judged(held) if gate.unmeasured}
    assert unmeasured == {"tail gain", "quintile 1"}
    page = render_promotion(decision(groups=found))
    assert page.count("<svg") == len(GROUPS) - 2
    assert page.count(">not measured<") == 2
    few = trial(all=group(0.01, 0.05, 0.09) | {"hits": 9})
    tags = decision(groups=measured_groups(few, Gates())).tags()
    assert tags["gain_over_champion"] == "not measured over version 2"


def test_slow_unvalidated_and_rolled_back_versions_fail():
    assert failed(answer=FreshProcessResult(None, 2.0, 50.1)) == {"latency"}
    assert failed(validation=VALID.model_copy(update={"passed": False})) == {"validation"}
    assert failed(tags={"rolled_back": "2026-01-01: complaints", "decision": "refused"}) == {"history"}


def report(suite, success, content=None):
    return {"suite": suite, "success": success, "checked": "2026-01-01 10:00:00 UTC", "content": content}


def made_from(events):
    """The manifest of sequences that were made from clean events of this content."""
    return Manifest(
        format=FORMAT, dataset="sequences", content="s", place="sequences", configuration={},
        lineage={"clean_events": Entry(content=events, place="clean_events.parquet", configuration={})},
    )  # fmt: skip


def test_validation_is_that_of_these_events():
    assert not judge_validation(made_from("a"), []).passed
    reports = [report("raw_events", True), report("clean_events", True, "a")]
    assert judge_validation(made_from("a"), reports).passed
    assert "not of these events" in judge_validation(made_from("b"), reports).measured


def test_a_report_that_does_not_say_of_which_data_it_is_does_not_pass():
    assert not judge_validation(made_from("a"), [report("clean_events", True)]).passed
    unknown = made_from("a").model_copy(update={"lineage": {}})  # nor does a dataset that does not say it
    assert not judge_validation(unknown, [report("clean_events", True)]).passed


def test_one_failed_suite_fails_the_validation():
    found = judge_validation(made_from("a"), [report("raw_events", False), report("clean_events", True, "a")])
    assert not found.passed
    assert "raw_events failed" in found.measured


def decision(**changed):
    held = trial()
    gates = judge(GateInputs(Gates(), held, ANSWER, VALID, {}, STRATA))
    fields = {
        "promoted": True, "model": "m", "version": "3", "against": "version 2", "champion_before": "2", "gates": gates,
        "groups": held.groups, "data": {"test_targets": 1234}, "date": "2026-01-01T00:00:00+00:00",
    }  # fmt: skip
    return Decision.model_validate(fields | changed)


def test_a_decision_survives_json_and_is_one_tag_with_the_path_of_its_page():
    made = decision()
    assert Decision.model_validate_json(made.model_dump_json()) == made
    assert made.tags() == {
        "decision": "promoted 2026-01-01 against version 2; decisions/2026-01-01T00-00-00_promoted.html",
        "gain_over_champion": "+5.0 % [+1.0, +9.0] over version 2",
    }
    assert outcome_of(made.tags()) == "promoted"
    back = decision(promoted=False, restored="1", against="version 1", groups={})
    assert back.tags() == {
        "decision": "rolled back 2026-01-01 in favour of version 1; decisions/2026-01-01T00-00-00_rolled_back.html"
    }
    assert outcome_of(back.tags()) == "rolled back"
    first = decision(promoted=False, against="popularity", champion_before=None)
    assert first.tags().keys() == {"decision"}  # popularity is no champion
    assert (outcome_of({"decision": "promoted"}), outcome_of({})) == ("promoted", None)


def test_the_page_shows_every_gate_and_group_and_loads_nothing():
    attack = "<script>alert(1)</script>"
    page = render_promotion(decision(promoted=False, reasons=(attack,), forced=None, notes=("a note",)))
    for gate in decision().gates:
        assert gate.name in page
    assert page.count("<svg") == len(GROUPS)
    assert "Refused: m version 3; version 2 stays the champion." in page
    assert attack not in page
    assert "src=" not in page
    assert page.count("href=") == page.count('href="index.html"') == 1  # the start page beside it


def test_a_page_without_gates_says_why():
    page = render_promotion(decision(promoted=False, gates=(), groups={}, data={}, reasons=("it is the champion",)))
    assert "it is the champion" in page
