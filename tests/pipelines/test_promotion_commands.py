"""The commands of a model's life, as a person or a scheduler uses them: what they say, and their exit codes."""

import json
import time

import mlflow
import pytest


def aliases(project):
    client = mlflow.MlflowClient(f"sqlite:///{project.folder / 'mlflow.db'}")
    return {alias: str(version) for alias, version in client.get_registered_model("pinet").aliases.items()}


def decision_of(project):
    return json.loads((project.folder / "data/08_reporting/promotion.json").read_text())


def test_promotion_says_what_it_decided_by_exit_code_console_and_page(own_copy):
    challenger = aliases(own_copy)["challenger"]
    refused = own_copy.run("--pipeline=promotion", "--env=test", "--params=promotion.gates.latency_ms=0.001")
    assert refused.exit_code == 3, refused.output
    assert refused.output.count("│ passed │") == 13
    assert refused.output.count("│ FAILED │") == 1
    assert f"Refused: pinet version {challenger}; there is no champion." in refused.output
    assert aliases(own_copy) == {"challenger": challenger}
    assert [gate["name"] for gate in decision_of(own_copy)["gates"] if not gate["passed"]] == ["latency"]

    promoted = own_copy.run("--pipeline=promotion", "--env=test")
    assert promoted.exit_code == 0, promoted.output
    assert f"Promoted: pinet version {challenger} is the champion." in promoted.output
    assert aliases(own_copy) == {"challenger": challenger, "champion": challenger}
    assert decision_of(own_copy)["promoted"]
    assert "is the champion" in (own_copy.folder / "data/08_reporting/promotion.html").read_text()

    latest = decision_of(own_copy)
    again = own_copy.invoke("promote", "--env=test")
    assert again.exit_code == 0
    assert f"Version {challenger} is the champion already: nothing to decide, and nothing has changed." in again.output
    assert decision_of(own_copy) == latest
    listed = own_copy.invoke("models", "--env=test")
    assert listed.exit_code == 0
    assert "challenger, champion" in listed.output
    assert f"promoted {latest['date'][:10]} against popularity" in listed.output
    version = mlflow.MlflowClient().get_model_version("pinet", challenger)
    kept = {file.path for file in mlflow.MlflowClient().list_artifacts(version.run_id, "decisions")}
    assert len(kept) == 4
    assert {path.rpartition("_")[2] for path in kept} == {
        "refused.json",
        "refused.html",
        "promoted.json",
        "promoted.html",
    }


def test_a_version_is_not_judged_on_another_split_of_its_log_whose_targets_it_may_have_learnt(own_copy):
    held_out = "--params=splitting.rule=global_time,splitting.test_share=0.3"
    split = own_copy.run("--pipeline=activeness_stratification", "--env=test", held_out)
    assert split.exit_code == 0, split.output
    refused = own_copy.run("--pipeline=promotion", "--env=test", held_out)
    assert refused.exit_code == 3, refused.output
    (gate,) = (gate for gate in decision_of(own_copy)["gates"] if gate["name"] == "targets")
    assert not gate["passed"]
    assert "as they were split before" in gate["measured"]


@pytest.mark.parametrize(
    ("command", "code", "words"),
    [
        (["promote", "99"], 1, "no version 99"),
        (["promote", "1", "--force"], 2, "go together"),
        (["promote", "1", "--reason", "because"], 2, "go together"),
        (["rollback"], 1, "nothing to roll back to"),
        (["run", "--pipeline=promotion", "--params=promotion.gates.tail.by=best"], 1, "'low', 'mean' or 'high'"),
    ],
)
def test_what_cannot_be_done_is_a_sentence(own_copy, command, code, words):
    result = own_copy.invoke(*command, "--env=test")
    assert result.exit_code == code, result.output
    assert words in result.output
    assert "Traceback" not in result.output
    assert "champion" not in aliases(own_copy)


def test_of_two_promotions_at_once_one_promotes_and_the_other_is_told_by_whom(own_copy):
    lock = own_copy.folder / "data/locks/run.lock"
    first = own_copy.fork("promote", "--env=test")
    until = time.monotonic() + 300
    while not (lock.exists() and lock.read_text()) and time.monotonic() < until:
        time.sleep(0.05)
    second = own_copy.invoke("promote", "--env=test")
    code = first.wait()
    assert second.exit_code == 1, second.output
    assert f"held by process {first.pid} on" in second.output
    assert "Traceback" not in second.output
    assert code == 0, first.said
    assert aliases(own_copy)["champion"] == aliases(own_copy)["challenger"]
    assert "previous" not in aliases(own_copy)
