"""Promotion and rollback on a real registry whose versions are real models; they answer in real fresh processes."""

import contextlib
import functools
import shutil
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import mlflow
import numpy as np
import pytest
import torch
from mlflow.utils.file_utils import local_file_uri_to_path

from pinet_kedro.backbones.backbone import build_backbone
from pinet_kedro.errors import InputError, NothingToDo
from pinet_kedro.promotion import fresh_process
from pinet_kedro.promotion import history as promotion_history
from pinet_kedro.promotion import promote as promotion
from pinet_kedro.promotion.config import Promotion
from pinet_kedro.promotion.decision import Gate, outcome_of
from pinet_kedro.promotion.fresh_process import try_version
from pinet_kedro.promotion.history import date_of_decision
from pinet_kedro.promotion.promote import Newest, promote
from pinet_kedro.promotion.rollback import roll_back
from pinet_kedro.recommender import Recommender
from pinet_kedro.registry.digest import DIGEST, TRUSTED, listing, settle
from pinet_kedro.registry.loading import HELD_OUT, VersionModels, held_out, load_version
from pinet_kedro.registry.registration import register_model
from pinet_kedro.registry.users import hash_users
from pinet_kedro.registry.versions import UnreadableVersionError, fetch_version, list_versions, trust_version
from pinet_kedro.tracking.config import Tracking
from pinet_kedro.tracking.recording import end_run, log_decision
from pinet_kedro.tracking.run_info import RunInfo
from pinet_kedro.tracking.runs import start_run

pytestmark = pytest.mark.slow

VALID = Gate(name="validation", passed=True, measured="2 suites passed", asked="all")
WEAK, STRONG, OTHER_ITEMS, BROKEN = 1, 2, 3, 4


@pytest.fixture(scope="module")
def newest(planted_world):
    return Newest(planted_world.dataset, VALID)


@pytest.fixture(scope="module")
def registered(newest, planted_world, joint_backbone, tmp_path_factory):
    """A registry with an untrained model, a trained one, one that lacks an item, and one whose weights are gone."""
    w = planted_world
    folder = tmp_path_factory.mktemp("registry")
    config = Tracking(uri=f"sqlite:///{folder / 'mlflow.db'}")
    torch.manual_seed(0)
    untrained = build_backbone(joint_backbone.config, w.n_items).eval()
    smaller = build_backbone(joint_backbone.config, w.n_items - 1).eval()
    fewer = type(w.popularity)(w.popularity.counts[:-1], w.popularity.recent[:-1])
    recommender = functools.partial(Recommender, exclude_seen=w.split.exclude_seen)
    models = [
        recommender(untrained, w.strata, w.popularity, w.item_ids),
        recommender(joint_backbone, w.strata, w.popularity, w.item_ids),
        recommender(smaller, w.strata, fewer, w.item_ids[:-1]),
        recommender(joint_backbone, w.strata, w.popularity, w.item_ids),
    ]
    figures = {group: {"ndcg_at_10": 0.1} for group in ("head", "tail")}
    gains = {group: {"ndcg_at_10": {"relative": None}} for group in ("head", "tail")}
    evaluation = {
        "models": {"pin": figures}, "comparisons": {"pin_vs_base": gains},
        "data": {
            "sha256": newest.dataset.sha256, "users": 300, "items": 60, "events": 9000,
            "newest_event": {"training": 1, "before_test": 1},
        },
    }  # fmt: skip
    with contextlib.chdir(folder):
        for number, model in enumerate(models, 1):
            users = hash_users(f"u{user}" for user in range(120 if number == OTHER_ITEMS else 300))
            register_model(VersionModels(model, users=users), evaluation, config)
        source = mlflow.MlflowClient().get_model_version_download_uri("pinet", str(BROKEN))
        path = Path(mlflow.artifacts.download_artifacts(source))
        (path / "artifacts" / "recommender" / "weights.safetensors").unlink()
        mlflow.MlflowClient().delete_model_version_tag("pinet", str(BROKEN), DIGEST)
        trust_version(str(BROKEN), config)
    return folder / "mlflow.db"


@pytest.fixture(scope="module")
def ask_once(registered, fresh_processes):
    """A version is asked in a fresh process once: it answers alike in every test. All but the first are asked in
    processes that have imported MLflow and torch."""
    answers = {}

    def ask(files, requests, timeout_s, histories):
        key = listing(settle(files)), str(histories)
        if key not in answers:
            with pytest.MonkeyPatch.context() as patch:
                if answers:
                    patch.setattr(fresh_process, "subprocess", fresh_processes.as_subprocess())
                answers[key] = try_version(files, requests, timeout_s, histories)
        return answers[key]

    return ask


@pytest.fixture
def registry(registered, tmp_path, monkeypatch, ask_once):
    monkeypatch.setattr(promotion, "try_version", ask_once)
    monkeypatch.chdir(tmp_path)
    shutil.copy(registered, tmp_path / "mlflow.db")
    config = Tracking(uri=f"sqlite:///{tmp_path / 'mlflow.db'}")
    yield config
    client = mlflow.MlflowClient(config.uri)
    for version in client.search_model_versions("name = 'pinet'"):  # artifacts are not copied
        place = local_file_uri_to_path(client.get_run(version.run_id).info.artifact_uri)
        shutil.rmtree(Path(place) / "decisions", ignore_errors=True)


def aliases(registry):
    mlflow.set_tracking_uri(registry.uri)
    found = mlflow.MlflowClient().get_registered_model("pinet").aliases
    return {alias: int(version) for alias, version in found.items()}


def tags(version):
    return mlflow.MlflowClient().get_model_version("pinet", str(version)).tags


def history(version):
    """The decisions in the run of a version by path, oldest first."""
    client = mlflow.MlflowClient()
    run_id = client.get_model_version("pinet", str(version)).run_id
    paths = sorted(file.path for file in client.list_artifacts(run_id, "decisions"))
    assert [path.removesuffix(".json") + ".html" for path in paths[1::2]] == paths[::2]  # each has its page
    return {path: mlflow.artifacts.load_dict(f"runs:/{run_id}/{path}") for path in paths[1::2]}


def described(version):
    return mlflow.MlflowClient().get_model_version("pinet", str(version)).description


def make_champion(registry, version, previous=None):
    mlflow.set_tracking_uri(registry.uri)
    client = mlflow.MlflowClient()
    for alias, number in (("champion", version), ("previous", previous)):
        if number:
            client.set_registered_model_alias("pinet", alias, str(number))


def asking(version, **settings):
    busy = {"fresh_process": {"requests": 5, "timeout_s": 600}, "gates": {"latency_ms": 5000}}  # as in conf/test
    return Promotion.model_validate({"version": version, **busy, **settings})


def test_the_first_version_is_judged_against_popularity(registry, newest):
    decision = promote(newest, asking(STRONG), registry)
    assert decision.promoted, decision.reasons
    assert decision.against == "popularity"
    assert decision.champion_before is None
    assert aliases(registry) == {"challenger": BROKEN, "champion": STRONG}


def test_a_better_model_becomes_champion_and_the_old_one_is_kept(registry, newest):
    make_champion(registry, WEAK)
    decision = promote(newest, asking(STRONG), registry)
    assert decision.promoted, decision.reasons
    assert aliases(registry) == {"challenger": BROKEN, "champion": STRONG, "previous": WEAK}
    assert tags(STRONG)["decision"] == f"promoted {decision.date[:10]} against version 1; {decision.place}.html"
    gain = decision.groups["all"]["gain"]
    assert tags(STRONG)["gain_over_champion"].startswith(f"{gain['relative'] * 100:+.1f} % [")
    assert decision.groups["tail"]["gain"]["low"] > 0


def test_a_worse_model_is_refused_and_nothing_moves(registry, newest):
    make_champion(registry, STRONG, previous=BROKEN)
    before = aliases(registry)
    decision = promote(newest, asking(WEAK), registry)
    assert not decision.promoted
    assert aliases(registry) == before
    assert {gate.name for gate in decision.gates if not gate.passed} >= {"tail gain", "head gain"}
    assert {gate.name for gate in decision.gates if gate.passed} >= {"validation", "fresh process", "latency"}
    assert outcome_of(tags(WEAK)) == "refused"
    assert {name for name in tags(WEAK) if name.startswith(("decision", "gate"))} == {"decision"}


def test_what_the_champion_does_not_know_counts_for_the_challenger(registry, newest, planted_world):
    make_champion(registry, OTHER_ITEMS)
    decision = promote(newest, asking(STRONG), registry)
    w = planted_world
    missed = int((w.sequences.items[w.sequences.offsets[:-1] + w.split.test_at] == w.n_items).sum())
    assert missed
    assert f"version 3 does not know the items of {missed} of the test targets: misses for it" in decision.notes


def test_a_version_that_knows_few_of_the_champions_users_is_refused(registry, newest):
    make_champion(registry, WEAK)
    decision = promote(newest, asking(OTHER_ITEMS), registry)
    (reason,) = (reason for reason in decision.reasons if reason.startswith("users"))
    assert reason == "users: knows 40.0 % of the champion's users (required: at least 50 % of the champion's users)"
    make_champion(registry, OTHER_ITEMS)
    (gate,) = (gate for gate in promote(newest, asking(STRONG), registry).gates if gate.name == "users")
    assert (gate.passed, gate.value) == (True, 1.0)


def test_a_version_without_weights_is_refused_with_every_gate_shown(registry, newest):
    make_champion(registry, STRONG)
    decision = promote(newest, asking(BROKEN), registry)
    assert not decision.promoted
    assert len(decision.gates) == 16
    fresh = next(gate for gate in decision.gates if gate.name == "fresh process")
    assert "weights.safetensors" in fresh.measured
    assert next(gate for gate in decision.gates if gate.name == "tail gain").verdict == "not measured"
    assert aliases(registry)["champion"] == STRONG


def test_a_version_whose_own_code_answers_otherwise_than_the_code_that_judges_it_is_refused(
    registry, newest, monkeypatch, ask_once
):
    """As one that was registered before its scores were computed in another way."""

    def by_other_code(*asked):
        result = ask_once(*asked)
        assert len(result.answers) == 20
        turned = [(items[::-1], [score + 1 for score in scores]) for items, scores in result.answers]
        return replace(result, answers=turned)

    monkeypatch.setattr(promotion, "try_version", by_other_code)
    make_champion(registry, WEAK)
    decision = promote(newest, asking(STRONG), registry)
    assert not decision.promoted
    [reason] = decision.reasons
    assert reason.startswith("fresh process: after a history of ")
    assert "its own code answers" in reason
    assert "kedro run --pipeline=registration" in reason


def test_force_promotes_a_refused_version_and_is_recorded(registry, newest):
    make_champion(registry, STRONG)
    decision = promote(newest, asking(WEAK, force="the strong one costs too much"), registry)
    assert decision.promoted
    assert decision.reasons
    assert aliases(registry)["champion"] == WEAK
    assert aliases(registry)["previous"] == STRONG
    assert tags(WEAK)["decision"].startswith("promoted (forced) ")
    assert history(WEAK)[f"{decision.place}.json"]["forced"] == "the strong one costs too much"


def test_a_champion_that_cannot_be_read_is_replaced_by_force_alone(registry, newest):
    """As when the format of models has changed."""
    make_champion(registry, BROKEN)
    decision = promote(newest, asking(STRONG), registry)
    assert not decision.promoted
    assert "tail gain: not measured: version 4 cannot be read by this code" in decision.reasons[0]
    assert promote(newest, asking(STRONG, force="new format"), registry).promoted


def during_the_judging(monkeypatch, act):
    """Has this happen before the gates are judged, as by another process."""
    judge = promotion.judge

    def judge_late(*given):
        act()
        return judge(*given)

    monkeypatch.setattr(promotion, "judge", judge_late)


def test_a_champion_that_moves_during_the_judging_makes_it_a_refusal(registry, newest, monkeypatch):
    """As by another machine, or by a rollback."""
    make_champion(registry, WEAK)
    during_the_judging(monkeypatch, lambda: make_champion(registry, OTHER_ITEMS))
    decision = promote(newest, asking(STRONG), registry)
    assert not decision.promoted
    assert "was version 1 when this was decided and is version 3 now" in decision.reasons[-1]
    assert aliases(registry) == {"challenger": BROKEN, "champion": OTHER_ITEMS}
    assert outcome_of(tags(STRONG)) == "refused"
    assert list(history(STRONG)) == [f"{decision.place}.json"]


@pytest.mark.parametrize("force", [None, "hurry"])
def test_a_version_that_another_process_promotes_during_the_judging_keeps_that_record(
    registry, newest, monkeypatch, force
):
    make_champion(registry, STRONG)

    def promote_elsewhere():
        make_champion(registry, WEAK)
        mlflow.MlflowClient(registry.uri).set_model_version_tag("pinet", str(WEAK), "decision", "promoted elsewhere")

    during_the_judging(monkeypatch, promote_elsewhere)
    decision = promote(newest, asking(WEAK, force=force), registry)
    assert not decision.promoted
    assert "another process has promoted version" in decision.notes[-1]
    assert aliases(registry)["champion"] == WEAK
    assert tags(WEAK)["decision"] == "promoted elsewhere"
    assert [made["promoted"] for made in history(WEAK).values()] == [False]


def test_the_champion_is_not_judged_against_itself(registry, newest):
    assert promote(newest, asking(STRONG), registry).promoted
    before = (tags(STRONG), aliases(registry), history(STRONG), described(STRONG))
    for force in (None, "again"):
        with pytest.raises(NothingToDo, match="Version 2 is the champion already: nothing to decide"):
            promote(newest, asking(STRONG, force=force), registry)
    assert (tags(STRONG), aliases(registry), history(STRONG), described(STRONG)) == before


def test_rollback_goes_back_step_by_step_and_the_version_stays_out(registry, newest):
    make_champion(registry, WEAK)
    assert promote(newest, asking(OTHER_ITEMS, force="a step"), registry).promoted
    assert promote(newest, asking(STRONG, force="another"), registry).promoted
    assert not promote(newest, asking(OTHER_ITEMS), registry).promoted  # which does not change what came before it
    assert roll_back(registry, "complaints") == ("2", "3")
    assert aliases(registry) == {"challenger": BROKEN, "champion": OTHER_ITEMS, "previous": WEAK}
    assert outcome_of(tags(STRONG)) == "rolled back"
    for _ in range(2):  # nor does a refusal make it forgotten
        again = promote(newest, asking(STRONG), registry)
        assert [gate.name for gate in again.gates if not gate.passed] == ["history"]
    assert roll_back(registry, "more complaints") == ("3", "1")
    assert aliases(registry) == {"challenger": BROKEN, "champion": WEAK}
    with pytest.raises(InputError, match="no previous version"):
        roll_back(registry, "still")
    outcomes = [path.rpartition("T")[2][9:] for path in history(STRONG)]
    assert outcomes == ["promoted.json", "rolled_back.json", "refused.json", "refused.json"]
    bullets = [line for line in described(STRONG).splitlines() if line.startswith("- ") and "/decisions/" in line]
    assert [line.split()[1] for line in bullets] == ["promoted", "rolled", "refused", "refused"]


def test_a_rollback_has_a_run_of_its_own_with_the_reason(registry, newest):
    make_champion(registry, STRONG, previous=WEAK)
    roll_back(registry, "complaints")
    [(place, rollback)] = history(STRONG).items()
    assert (rollback["restored"], rollback["reasons"]) == ("1", ["complaints"])
    run = mlflow.MlflowClient().get_run(rollback["run_id"])
    assert run.info.run_name == "version 2 rolled back · rollback"
    assert run.info.status == "FINISHED"
    page = mlflow.artifacts.load_text(f"{run.info.artifact_uri}/{place.removesuffix('json')}html")
    assert "Rolled back: pinet version 1 is the champion again, in place of version 2." in page
    assert "complaints" in page


def test_a_rollback_is_done_even_if_it_cannot_be_recorded(registry, newest, monkeypatch, caplog):
    make_champion(registry, STRONG, previous=WEAK)
    monkeypatch.setenv("MLFLOW_RUN_ID", "of somebody else")  # which refuses every new run
    assert roll_back(registry, "complaints") == ("2", "1")
    assert aliases(registry)["champion"] == WEAK
    assert "The rollback is done; it is not in the history" in caplog.text


def test_a_promotion_that_is_killed_before_its_record_gets_one_from_the_next(registry, newest, monkeypatch):
    make_champion(registry, WEAK)

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(promotion, "keep", killed)
        with pytest.raises(KeyboardInterrupt):
            promote(newest, asking(STRONG), registry)
    assert aliases(registry)["champion"] == STRONG
    assert outcome_of(tags(STRONG)) == "promoted"
    assert history(STRONG) == {}
    told = "the promotion of version 2 had no record, since it was interrupted, and has one now"
    assert told in promote(newest, asking(WEAK), registry).notes
    [(place, kept)] = history(STRONG).items()
    assert tags(STRONG)["decision"].endswith(f"; {place.removesuffix('.json')}.html")
    assert (kept["promoted"], kept["against"], kept["champion_before"]) == (True, "version 1", "1")
    assert "gates and figures are lost" in kept["notes"][0]
    assert place.removesuffix(".json") in described(STRONG)
    assert told not in promote(newest, asking(WEAK), registry).notes


def test_the_second_judgement_of_a_version_adds_a_second_pair_in_both_runs(registry, newest):
    make_champion(registry, STRONG)
    info = start_run(RunInfo("promotion", "test", "abc", registry), {})
    first, second = (promote(newest, asking(WEAK), registry, info.mlflow) for _ in range(2))
    log_decision(info, second.model_dump(mode="json"))
    end_run(info, "FINISHED")
    kept = history(WEAK)
    assert list(kept.values()) == [first.model_dump(mode="json"), second.model_dump(mode="json")]
    assert first.place < second.place
    client = mlflow.MlflowClient()
    mine = {file.path for file in client.list_artifacts(info.mlflow_id, "decisions")}
    assert mine == {f"{made.place}{suffix}" for made in (first, second) for suffix in (".json", ".html")}
    run = client.get_run(info.mlflow_id)
    assert run.info.run_name == "version 1 refused · promotion"
    assert run.data.metrics["gates/failed"] == sum(gate.verdict == "failed" for gate in second.gates)
    assert run.data.metrics["gain/tail_low"] == second.groups["tail"]["gain"]["low"]
    [test] = run.inputs.dataset_inputs
    assert (test.dataset.digest, test.tags[0].value) == (newest.dataset.sha256[:12], "test")
    assert run.data.tags["mlflow.note.content"].startswith("Refused: pinet version 1")


def test_decisions_of_one_second_do_not_overwrite_each_other(registry, newest, monkeypatch):
    make_champion(registry, STRONG)
    client = mlflow.MlflowClient()
    one = promote(newest, asking(WEAK), registry)
    frozen = datetime.fromisoformat(one.date)
    monkeypatch.setattr(promotion_history, "datetime", type("Clock", (), {"now": staticmethod(lambda zone: frozen)}))
    assert date_of_decision(client, "pinet", str(WEAK)) == (frozen + timedelta(seconds=1)).isoformat()
    assert date_of_decision(client, "pinet", str(STRONG)) == one.date


def test_a_version_with_the_tags_of_earlier_releases_is_rolled_back_listed_and_decided_on(registry, newest):
    earlier = {
        "decision": "promoted", "decision.against": "version 3", "decision.champion_before": "3",
        "decision.forced": "no", "gate.latency": "passed: 2 ms",
    }  # fmt: skip
    make_champion(registry, STRONG, previous=WEAK)
    client = mlflow.MlflowClient()
    for key, value in earlier.items():
        client.set_model_version_tag("pinet", str(WEAK), key, value)
    assert outcome_of(tags(WEAK)) == "promoted"
    assert roll_back(registry, "complaints") == ("2", "1")
    assert aliases(registry)["previous"] == OTHER_ITEMS
    client.set_registered_model_alias("pinet", "champion", str(STRONG))
    promote(newest, asking(WEAK), registry)
    kept = {name for name in tags(WEAK) if name.startswith(("decision", "gate."))}
    assert kept == {"decision", "decision.champion_before"}  # a rollback may still need it


def test_a_version_of_other_data_may_have_learnt_the_targets_unless_it_is_older_than_they_are(registry, newest):
    other = replace(newest.dataset, items=newest.dataset.items.iloc[::-1])
    mlflow.set_tracking_uri(registry.uri)
    known = tags(STRONG)
    assert promotion._learnt(newest.dataset, VersionModels(None), known) is None
    assert "it was trained on other data" in promotion._learnt(other, VersionModels(None), known)
    earlier = VersionModels("served", served_until=other.first_target - 1)
    assert promotion._learnt(other, earlier, known) is None


def test_a_version_of_another_split_of_the_same_log_may_have_learnt_the_targets(registry, newest, planted_world):
    """Such as one that holds out the last event of each user, judged on all events after a cut in time."""
    mlflow.set_tracking_uri(registry.uri)
    split = planted_world.dataset.split
    wider = replace(newest.dataset, split=replace(split, test_from=split.test_from - 1, test_at=split.test_at - 1))
    assert wider.sha256 == newest.dataset.sha256
    known = tags(STRONG)
    assert promotion._learnt(wider, VersionModels(None), known) is None  # an earlier release, which has no record of it
    known[HELD_OUT] = held_out(newest.dataset)
    assert promotion._learnt(newest.dataset, VersionModels(None), known) is None
    assert "as they were split before" in promotion._learnt(wider, VersionModels(None), known)
    assert promotion._learnt(wider, VersionModels("served", served_until=wider.first_target - 1), known) is None


def test_a_version_that_cannot_be_compared_is_refused_whatever_unmeasured_gains_may_do(registry, newest):
    make_champion(registry, WEAK)
    seen_again = replace(newest.dataset, split=replace(newest.dataset.split, exclude_seen=True))
    lenient = {"unmeasured": "pass", "latency_ms": 5000}
    decision = promote(Newest(seen_again, VALID), asking(STRONG, gates=lenient), registry)
    assert "served with exclude_seen = false" in decision.reasons[0]
    assert not decision.promoted
    few = lenient | {"tail": {"above": 0.0, "by": "low", "users": 10_000}}
    assert promote(newest, asking(STRONG, gates=few), registry).promoted


def test_versions_are_listed_newest_first_with_figures_and_aliases(registry):
    make_champion(registry, STRONG, previous=WEAK)
    rows = list_versions(registry)
    assert [row["version"] for row in rows] == ["4", "3", "2", "1"]
    assert [row["aliases"] for row in rows] == [["challenger"], [], ["champion"], ["previous"]]
    assert rows[0]["tail.ndcg_at_10"] == "0.100000"


@pytest.mark.parametrize(("asked", "words"), [(9, "no version 9"), (None, "'challenger'")])
def test_a_version_that_is_not_there_is_an_error(registry, newest, asked, words):
    make_champion(registry, WEAK)
    if asked is None:
        mlflow.MlflowClient().delete_registered_model_alias("pinet", "challenger")
    with pytest.raises(InputError, match=words):
        promote(newest, asking(asked), registry)


def test_a_process_that_takes_too_long_is_ended(registry, tmp_path_factory):
    answer = try_version(fetch_version("2", registry, tmp_path_factory.mktemp("fetched")), 5, timeout_s=0.2)
    assert answer.fault == "no answer within 0.2 s"


def test_gains_are_those_of_the_figures(registry, newest):
    make_champion(registry, WEAK)
    group = promote(newest, asking(STRONG), registry).groups["tail"]
    assert group["gain"]["relative"] == pytest.approx(group["challenger"] / group["reference"] - 1)
    assert np.isfinite(group["gain"]["low"])


def append(path):
    path.write_bytes(path.read_bytes() + b"\n# more\n")


TAMPERED = {
    "changed: code/pinet_kedro/recommender.py": lambda f: append(f / "code/pinet_kedro/recommender.py"),
    "added: code/sitecustomize.py": lambda f: (f / "code/sitecustomize.py").write_text("x = 1"),
    "missing: code/pinet_kedro/errors.py": lambda f: (f / "code/pinet_kedro/errors.py").unlink(),
    "changed: artifacts/recommender/weights.safetensors": lambda f: shutil.copy(
        f / "artifacts/recommender/items.json", f / "artifacts/recommender/weights.safetensors"
    ),
    "changed: served_model.py": lambda f: append(f / "served_model.py"),
    "added: code/registered_model_meta": lambda f: (f / "code/registered_model_meta").write_text("x = 1"),
}


@pytest.fixture
def stored(registry, tmp_path):
    """The files of the strong version in the store, in a copy for this test."""
    client = mlflow.MlflowClient(registry.uri)
    mlflow.set_tracking_uri(registry.uri)
    source = Path(mlflow.artifacts.download_artifacts(client.get_model_version_download_uri("pinet", str(STRONG))))
    shutil.copytree(source, tmp_path / "kept")
    yield source
    shutil.rmtree(source)
    shutil.copytree(tmp_path / "kept", source)


@pytest.mark.parametrize("words", TAMPERED)
def test_files_other_than_the_registered_ones_are_refused_and_named(registry, stored, words):
    TAMPERED[words](stored)
    with pytest.raises(UnreadableVersionError, match=f"not those that were registered .{words}"):
        load_version(str(STRONG), registry)


def test_a_version_that_was_changed_is_not_even_promoted_by_force(registry, newest, stored):
    append(stored / "served_model.py")
    with pytest.raises(InputError, match=r"served_model\.py"):
        promote(newest, asking(STRONG, force="now"), registry)
    assert aliases(registry) == {"challenger": BROKEN}


def test_bytecode_beside_the_files_is_not_run(registry, stored, tmp_path_factory):
    """Python writes it where a version is loaded in place; somebody else may have written it."""
    cache = stored / "code/pinet_kedro/__pycache__"
    cache.mkdir()
    (cache / "recommender.cpython-311.pyc").write_bytes(b"anything")
    files = fetch_version(str(STRONG), registry, tmp_path_factory.mktemp("fetched"))
    assert not list(files.rglob("*.pyc"))


def test_a_version_without_a_digest_is_trusted_by_an_act_of_its_own(registry, tmp_path):
    client = mlflow.MlflowClient(registry.uri)
    client.delete_model_version_tag("pinet", str(STRONG), DIGEST)
    with pytest.raises(UnreadableVersionError, match=f"kedro trust {STRONG}"):
        load_version(str(STRONG), registry)
    digest, files = trust_version(str(STRONG), registry)
    assert (tags(STRONG)[DIGEST], files > 40, TRUSTED in tags(STRONG)) == (digest, True, True)
    assert load_version(str(STRONG), registry)
    assert trust_version(str(STRONG), registry) is None
