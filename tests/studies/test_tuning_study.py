"""Studies on the planted log, in this process: what is tried, given up, failed, constrained and resumed."""

import json
import re
import subprocess
import sys

import optuna
import pandas as pd
import pytest
from optuna.trial import TrialState

from pinet_kedro.errors import InputError
from pinet_kedro.losses.config import BCEConfig
from pinet_kedro.plugins.config import PluginTraining
from pinet_kedro.studies.tuning import study as studies
from pinet_kedro.studies.tuning import trial as trials
from pinet_kedro.studies.tuning.config import Pruning, Tuning
from pinet_kedro.studies.tuning.finalists import hold_finals
from pinet_kedro.studies.tuning.plan import Plan
from pinet_kedro.studies.tuning.pruning import is_hopeless
from pinet_kedro.studies.tuning.queue import claim, put_back
from pinet_kedro.studies.tuning.study import run_study
from pinet_kedro.training.backbone import DivergedError
from pinet_kedro.training.config import BackboneTraining

RATE = "backbone_training.schedule.learning_rate"
WIDTH = "backbone_training.backbone.width"
SPACE = {RATE: {"type": "float", "low": 1e-3, "high": 2e-2, "log": True}}
TRAINING = BackboneTraining.model_validate(
    {
        "backbone": {"name": "sasrec", "width": 8, "blocks": 1, "heads": 1, "max_length": 8},
        "schedule": {"epochs": 3, "batch_users": 64, "weight_average": 0.5},
        "aggregation": {"rule": "deconfounded"},
    }
)


@pytest.fixture
def plan(planted_world, tmp_path, monkeypatch):
    """A small study in a folder of its own; arguments change its configuration."""
    monkeypatch.chdir(tmp_path)

    def make(training=TRAINING, plugins=PluginTraining(folds=2), **changes):  # noqa: B008
        config = {"trials": 4, "workers": 1, "epochs": 2, "validate_every": 1, "startup": 2, "space": SPACE,
                  "finalists": {"count": 1, "seeds": [101]}, "pruning": {"quantile": 0.0}}  # fmt: skip
        return Plan(Tuning.model_validate(config | changes), training, plugins, planted_world.dataset)

    return make


def test_a_study_has_as_many_trials_as_it_is_told_in_total(plan):
    record, first = run_study(plan(trials=2))
    assert record.states == {"complete": 2}
    more, table = run_study(plan(trials=4))
    assert more.study == record.study
    assert more.states == {"complete": 4}
    pd.testing.assert_frame_equal(table.iloc[:2].drop(columns="front"), first.drop(columns="front"))
    assert run_study(plan(trials=3))[0].states == {"complete": 4}


def test_the_first_trial_is_the_shipped_configuration(plan):
    _, table = run_study(plan(trials=1))
    assert table.loc[0, RATE] == TRAINING.schedule.learning_rate


def test_another_configuration_is_another_study_and_another_machine_is_not(plan):
    one = plan().name
    assert one == plan(trials=9, workers=3, choose=1, tail_weight=1.0).name
    assert one == plan(TRAINING.model_copy(update={"threads": 4, "device": "cuda"})).name
    assert one == plan(plugins=PluginTraining(folds=3)).name
    others = [plan(seed=2), plan(epochs=3), plan(objective="tail"), plan(joint=True),
              plan(space={RATE: SPACE[RATE] | {"high": 1e-2}}),
              plan(TRAINING.model_copy(update={"loss": BCEConfig()}))]  # fmt: skip
    assert len({one, *(other.name for other in others)}) == 7


def test_the_same_seed_tries_the_same_whether_it_is_interrupted_or_not(plan):
    _, straight = run_study(plan(folder="straight"))
    interrupted = plan(folder="interrupted", trials=2)
    run_study(interrupted)
    study = plan(folder="interrupted").create()
    put_back(study, claim(plan(folder="interrupted"), study), "for a test")
    _, resumed = run_study(plan(folder="interrupted"))
    assert resumed["state"].tolist() == ["complete"] * 2 + ["interrupted"] + ["complete"] * 2
    done = resumed[resumed["state"] == "complete"].reset_index(drop=True)
    columns = ["slot", "head", "tail", "epochs", RATE]
    pd.testing.assert_frame_equal(done[columns], straight[columns])


def test_what_a_dead_process_left_is_done_again_with_the_same_values(plan):
    from pinet_kedro.studies.tuning.queue import PROCESS

    told = plan(trials=3)
    study = told.create()
    left = claim(told, study)
    values = told.space.suggest(left)
    script = "from pinet_kedro.processes.identity import this_process\nimport json; print(json.dumps(this_process()))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    left.set_user_attr(PROCESS, json.loads(done.stdout))
    record, table = run_study(told)
    assert record.states == {"complete": 3}
    assert table.loc[0, "state"] == "interrupted"
    assert table.loc[1, ["slot", RATE]].tolist() == [0, values[RATE]]


def test_a_trial_of_another_machine_is_left_alone_until_it_is_silent_for_long(plan):
    from pinet_kedro.studies.tuning.queue import PROCESS, is_dead

    study = plan().create()
    claim(plan(), study).set_user_attr(PROCESS, {"host": "elsewhere", "pid": "1", "started": "1"})
    (trial,) = study.get_trials()
    assert not is_dead(trial, stale_s=60)
    assert is_dead(trial, stale_s=0)


def test_a_combination_that_cannot_be_trained_is_recorded_and_the_study_goes_on(plan):
    space = SPACE | {WIDTH: {"type": "int", "low": 8, "high": 12}}  # odd ones are no multiples of two heads
    two_heads = TRAINING.model_copy(update={"backbone": TRAINING.backbone.model_copy(update={"heads": 2})})
    record, table = run_study(plan(two_heads, trials=6, space=space))
    failed = table[table["state"] == "fail"]
    assert 0 < len(failed) < 6
    assert record.states["complete"] + record.states["fail"] == 6
    assert (failed[WIDTH] % 2 == 1).all()
    assert failed["reason"].str.contains("width must be a multiple of heads").all()


def test_a_loss_that_is_no_number_is_a_failed_trial(plan, monkeypatch):
    train = trials.train_backbone

    def diverges(*arguments):
        if arguments[4].schedule.learning_rate != TRAINING.schedule.learning_rate:
            raise DivergedError("the loss is nan")
        return train(*arguments)

    monkeypatch.setattr(trials, "train_backbone", diverges)
    record, table = run_study(plan(trials=3))
    assert record.states == {"complete": 1, "fail": 2}
    assert table.loc[1, "reason"] == "DivergedError: the loss is nan"


def test_failures_in_a_row_end_the_run_with_a_sentence_and_the_next_run_tries_on(plan, monkeypatch):
    def fails(*arguments):
        raise ValueError("never")

    told = plan(trials=6, failures=2)
    studies._base(told, told.create())
    with monkeypatch.context() as patched:
        patched.setattr(trials, "train_backbone", fails)
        with pytest.raises(InputError, match=r"last 2 trials have all failed .*ValueError: never"):
            run_study(told)
    record, _ = run_study(told)
    assert record.states == {"fail": 2, "complete": 4}


def test_a_defect_of_ours_is_raised_and_leaves_no_trial_running(plan, monkeypatch):
    def breaks(*arguments):
        raise TypeError("a defect")

    told = plan()
    studies._base(told, told.create())
    monkeypatch.setattr(trials, "train_backbone", breaks)
    with pytest.raises(TypeError):
        run_study(told)
    assert [trial.state for trial in told.create().get_trials()] == [TrialState.FAIL]


def test_one_objective_keeps_the_head_of_the_base(plan, monkeypatch):
    told = plan(objective="tail", trials=5)
    study = told.create()
    # A base with the head of the second best trial, so that one of them cannot do.
    _, free = run_study(plan(trials=5))
    bar = free["head"].sort_values().iloc[2]
    study.set_user_attr("base", {"head": float(bar), "tail": 0.0, "curve": {}})
    record, table = run_study(told)
    able = table[table["head"] >= bar]
    assert 0 < len(able) < 5
    assert table["feasible"].tolist() == (table["head"] >= bar).tolist()
    assert record.front[0] == able.sort_values("tail")["number"].iloc[-1]


def test_two_objectives_give_a_pareto_front(plan):
    record, table = run_study(plan(trials=6))
    points = table[["head", "tail"]].to_numpy()
    beaten = [(points >= point).all(1) & (points > point).any(1) for point in points]
    assert sorted(record.front) == [n for n, by in enumerate(beaten) if not by.any()]


def test_a_base_of_its_own_study_is_trained_jointly(plan):
    record, table = run_study(plan(joint=True, trials=1))
    assert record.study.startswith("base-")
    assert table.loc[0, ["head", "tail"]].tolist() == [record.base["head"], record.base["tail"]]


def test_a_trial_is_hopeless_when_both_groups_are_below_the_others():
    others = [{2: {"head": h, "tail": t}} for h, t in ((1, 5), (2, 4), (3, 3), (4, 2), (5, 1))]
    pruning = Pruning(from_epoch=2, least=5, quantile=0.5)
    assert is_hopeless(2, {"head": 2.9, "tail": 2.9}, others, pruning)
    assert not is_hopeless(2, {"head": 0, "tail": 3.1}, others, pruning)
    assert not is_hopeless(2, {"head": 3.1, "tail": 0}, others, pruning)
    assert not is_hopeless(2, {"head": 0, "tail": 0}, others[1:], pruning)
    assert not is_hopeless(1, {"head": 0, "tail": 0}, others, pruning)
    assert not is_hopeless(2, {"head": 0, "tail": 0}, others, Pruning(from_epoch=2, least=1, quantile=0))


@pytest.mark.parametrize("objective", ["head_and_tail", "tail"])
def test_hopeless_trials_are_given_up(plan, objective):
    space = {RATE: {"type": "float", "low": 1e-6, "high": 2e-2, "log": True}}
    pruning = {"from_epoch": 1, "least": 2, "quantile": 0.5, "reduction": 2}
    record, table = run_study(plan(trials=10, objective=objective, space=space, pruning=pruning))
    given_up = table[table["state"] == "pruned"]
    assert len(given_up) > 0
    assert record.states == {"complete": 10 - len(given_up), "pruned": len(given_up)}
    assert (given_up["epochs"] == 1).all()


def test_parameters_of_the_plugins_are_judged_on_users_they_were_not_fitted_on(plan):
    space = {"plugin_training.ridge": {"type": "float", "low": 1.0, "high": 50.0}}
    plugins = PluginTraining(folds=2, factors=None, memory_search=None)
    record, table = run_study(plan(trials=2, space=space, plugins=plugins))
    assert record.judged == "backbone with cross-fitted plugins"
    assert table["tail"].notna().all()


def test_what_is_shipped_gives_way_to_what_is_better_beyond_doubt(plan):
    hopeless = {"learning_rate": 1e-5, "weight_average": 0.0}
    shipped = TRAINING.model_copy(update={"schedule": TRAINING.schedule.model_copy(update=hopeless)})
    told = plan(shipped, trials=3)
    record, table = run_study(told)
    finalists, choice = hold_finals(told, record, table)
    assert finalists["candidate"].unique().tolist()[:2] == ["base", "shipped"]
    assert choice.trial is not None
    assert choice.why.startswith("the best finalist on validation targets over the fresh seeds")


def test_what_is_shipped_stays_where_the_best_finalist_may_be_luck(plan):
    space = {"backbone_training.schedule.random_window": {"type": "float", "low": 0.49, "high": 0.51}}
    told = plan(trials=3, space=space)
    record, table = run_study(told)
    _, choice = hold_finals(told, record, table)
    assert choice.trial is None
    assert choice.label == "shipped"
    assert re.search(r"no finalist is better beyond doubt .*; the best is trial \d with .+ % \[", choice.why)


def test_a_trial_that_is_named_is_chosen(plan):
    record, table = run_study(plan(trials=3))
    named = plan(trials=3, choose=1)
    again, choice = hold_finals(named, record, table)
    assert choice.trial == 1
    assert choice.training["schedule"]["learning_rate"] == table.loc[1, RATE]
    assert choice.training["schedule"]["epochs"] == TRAINING.schedule.epochs
    first = again[(again["candidate"] == "trial 1") & (again["group"] == "tail")]["first"]
    assert first.tolist() == [table.loc[1, "tail"]]


def test_a_trial_that_never_ended_cannot_be_chosen(plan):
    told = plan(trials=2, choose=7)
    record, table = run_study(told)
    with pytest.raises(InputError, match=r"tuning.choose = 7 .* there are 0, 1"):
        hold_finals(told, record, table)


def test_a_database_holds_a_study_as_well(plan, tmp_path):
    told = plan(trials=2, storage=f"sqlite:///{tmp_path / 'trials.db'}")
    assert run_study(told)[0].states == {"complete": 2}
    assert optuna.load_study(storage=told.config.storage, study_name=told.name).trials[0].state == TrialState.COMPLETE


def test_a_database_that_is_not_there_is_a_sentence_without_its_password(plan):
    told = plan(storage="sqlite://user:secret@/nowhere/to/be/found.db")
    with pytest.raises(InputError, match=r"tuning\.storage") as error:
        run_study(told)
    assert "secret" not in str(error.value)


def test_where_no_rule_is_shipped_the_dial_is_tried_all_the_same_and_the_base_may_win(plan):
    """λ opens deconfounded aggregation; the shipped configuration is the base, and stands among the finalists."""
    dial = "backbone_training.aggregation.strength"
    space = {dial: {"type": "float", "low": 0.0, "high": 1.0, "when": {"backbone_training.aggregation.rule": [None]}}}
    joint = TRAINING.model_copy(update={"aggregation": None})
    study = plan(joint, trials=2, space=space)
    values = {dial: 0.25}
    assert study.space.configured(values)[0].aggregation.strength == 0.25
    record, table = run_study(study)
    assert table[dial].between(0, 1).all()
    finalists, choice = hold_finals(study, record, table)
    assert "shipped" not in set(finalists["candidate"])
    assert any(label.startswith("trial") for label in finalists["candidate"])
    assert (choice.training["aggregation"] is None) is (choice.label == "base")
