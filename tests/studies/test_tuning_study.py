"""Studies on the planted log, in this process: what is tried, pruned, failed, constrained and resumed."""

import re
from dataclasses import replace

import optuna
import pandas as pd
import pytest
import sqlalchemy
from optuna.trial import TrialState

from pinet_kedro.activeness import Stratification, fit_strata
from pinet_kedro.errors import InputError
from pinet_kedro.losses.config import BCEConfig
from pinet_kedro.plugins.config import PluginTraining
from pinet_kedro.studies.tuning import plan as plans
from pinet_kedro.studies.tuning import trial as trials
from pinet_kedro.studies.tuning.config import Pruning, Tuning
from pinet_kedro.studies.tuning.finalists import train_finalists
from pinet_kedro.studies.tuning.plan import StudyPlan
from pinet_kedro.studies.tuning.study import interrupt_dead, run_study, train_base
from pinet_kedro.training.backbone import DivergedError
from pinet_kedro.training.config import BackboneTraining

pytestmark = pytest.mark.slow  # trains trial after trial

RATE = "backbone_training.schedule.learning_rate"
WIDTH = "backbone_training.backbone.width"
STRENGTH = "backbone_training.aggregation.strength"
SPACE = {RATE: {"type": "float", "low": 1e-3, "high": 2e-2, "log": True}}
TRAINING = BackboneTraining.model_validate(
    {
        "backbone": {"name": "sasrec", "positions": "absolute", "width": 8, "blocks": 1, "heads": 1, "max_length": 8},
        "schedule": {"epochs": 3, "batch_users": 64, "weight_average": 0.5},
        "aggregation": {"rule": "deconfounded"},
    }
)


@pytest.fixture(scope="module")
def make(planted_world):
    """Makes the plan of a small study in a folder; arguments change its configuration."""

    def make(folder, training=TRAINING, plugins=PluginTraining(folds=2), **changes):  # noqa: B008
        config = {"trials": 4, "workers": 1, "epochs": 2, "validate_every": 1, "startup": 2, "space": SPACE,
                  "finalists": {"count": 1, "seeds": [101]}, "pruning": {"quantile": 0.0}}  # fmt: skip
        return StudyPlan(Tuning.model_validate(config | changes), training, plugins, planted_world.dataset, folder)

    return make


@pytest.fixture
def plan(make, tmp_path, monkeypatch):
    """A study in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    return lambda *arguments, **changes: make(tmp_path, *arguments, **changes)


@pytest.fixture(scope="module")
def straight(make, tmp_path_factory):
    """A finished study of four trials: its plan with other parameters, its record and its trials."""
    folder = tmp_path_factory.mktemp("straight")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return lambda **changes: make(folder, **changes), *run_study(make(folder))


def fails(*arguments):
    raise ValueError("never")


def test_the_number_of_trials_is_a_total(straight):
    plan, record, table = straight
    assert record.states == {"complete": 4}
    assert record.study == plan(trials=3).name
    again, same = run_study(plan(trials=3))
    assert again.states == {"complete": 4}
    pd.testing.assert_frame_equal(same, table)


def test_the_first_trial_is_the_shipped_configuration(straight):
    assert straight[2].loc[0, RATE] == TRAINING.schedule.learning_rate


def test_two_objectives_give_a_pareto_front(straight):
    _, record, table = straight
    points = table[["head", "tail"]].to_numpy()
    beaten = [(points >= point).all(1) & (points > point).any(1) for point in points]
    assert sorted(record.front) == [n for n, by in enumerate(beaten) if not by.any()]


def test_another_configuration_is_another_study_and_another_machine_is_not(plan):
    one = plan().name
    assert one == plan(trials=9, workers=3, choose=1, tail_weight=1.0).name
    assert one == plan(TRAINING.model_copy(update={"threads": 4, "device": "cuda"})).name
    assert one == plan(plugins=PluginTraining(folds=3)).name
    others = [plan(seed=2), plan(epochs=3), plan(objective="tail"), plan(joint=True),
              plan(space={RATE: SPACE[RATE] | {"high": 1e-2}}),
              plan(TRAINING.model_copy(update={"loss": BCEConfig()}))]  # fmt: skip
    assert len({one, *(other.name for other in others)}) == 7


def test_other_code_of_trials_is_another_study(plan, monkeypatch):
    name = plan().name
    monkeypatch.setattr(plans, "code_version", lambda *places: f"another {places}")
    assert plan().name != name


@pytest.mark.filterwarnings("ignore:Heartbeat of storage")
@pytest.mark.parametrize(
    "signal",
    [KeyboardInterrupt, SystemExit, "kill"],
)
def test_the_same_seed_tries_the_same_whether_it_is_interrupted_or_not(plan, straight, monkeypatch, signal):
    run_study(plan(trials=2))
    if signal == "kill":  # leaves a running trial with its values
        left = plan().study().ask()
        plan().space.suggest(left)
    else:
        with monkeypatch.context() as patched:
            patched.setattr(trials, "train_backbone", lambda *_: (_ for _ in ()).throw(signal()))
            with pytest.raises(signal):
                run_study(plan())
    _, resumed = run_study(plan())
    assert resumed["state"].tolist() == ["complete"] * 2 + ["interrupted"] + ["complete"] * 2
    assert resumed.loc[2, RATE] == resumed.loc[3, RATE]
    done = resumed[resumed["state"] == "complete"].reset_index(drop=True)
    columns = ["slot", "head", "tail", "epochs", RATE]
    pd.testing.assert_frame_equal(done[columns], straight[2][columns], check_dtype=False)


@pytest.mark.filterwarnings("ignore:Heartbeat of storage")
def test_a_trial_of_another_machine_is_left_alone_until_its_heartbeat_is_old(plan):
    study = plan(stale_minutes=5).study()
    trial = study.ask()
    plan().space.suggest(trial)
    study._storage.record_heartbeat(trial._trial_id)
    interrupt_dead(study, alone=False)
    assert [t.state for t in study.get_trials()] == [TrialState.RUNNING]
    with sqlalchemy.create_engine(study._storage._backend.url).begin() as database:
        database.execute(sqlalchemy.text("update trial_heartbeats set heartbeat = datetime('now', '-6 minutes')"))
    interrupt_dead(study, alone=False)
    assert [t.state for t in study.get_trials()] == [TrialState.FAIL, TrialState.WAITING]
    assert study.get_trials()[1].params == trial.params


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
        if arguments[1].schedule.learning_rate != TRAINING.schedule.learning_rate:
            raise DivergedError("the loss is nan")
        return train(*arguments)

    monkeypatch.setattr(trials, "train_backbone", diverges)
    record, table = run_study(plan(trials=3))
    assert record.states == {"complete": 1, "fail": 2}
    assert table.loc[1, "reason"] == "DivergedError: the loss is nan"


def test_failures_in_a_row_end_the_run_with_a_sentence_and_the_next_run_tries_on(plan, monkeypatch):
    planned = plan(trials=6, failures=2)
    train_base(planned, planned.study())
    with monkeypatch.context() as patched:
        patched.setattr(trials, "train_backbone", fails)
        with pytest.raises(InputError, match=r"last 2 trials have all failed .*ValueError: never"):
            run_study(planned)
    record, _ = run_study(planned)
    assert record.states == {"fail": 2, "complete": 4}


def test_a_defect_of_ours_is_raised_and_leaves_no_trial_running(plan, monkeypatch):
    train_base(plan(), plan().study())
    monkeypatch.setattr(trials, "train_backbone", lambda *_: {}["a defect"])
    with pytest.raises(KeyError):
        run_study(plan())
    assert [trial.state for trial in plan().study().get_trials()] == [TrialState.FAIL]


def test_one_objective_keeps_the_head_of_the_base(plan, straight):
    planned = plan(objective="tail", trials=4)
    # A base with the head of the second best trial, so that one of them is above it.
    bar = straight[2]["head"].sort_values().iloc[2]
    planned.study().set_user_attr("base", {"head": float(bar), "tail": 0.0})
    record, table = run_study(planned)
    able = table[table["head"] >= bar]
    assert 0 < len(able) < 4
    assert record.front == (able.sort_values("tail")["number"].iloc[-1],)


def test_a_base_of_its_own_study_is_trained_jointly(plan):
    record, table = run_study(plan(joint=True, trials=1))
    assert record.study.startswith("base-")
    assert table.loc[0, ["head", "tail"]].tolist() == [record.base["head"], record.base["tail"]]


def test_a_trial_is_unpromising_when_every_objective_is_below_the_others():
    others = [{"2": {"head": h, "tail": t}} for h, t in ((1, 5), (2, 4), (3, 3), (4, 2), (5, 1))]
    pruning = Pruning(from_epoch=2, least=5, quantile=0.5)
    assert trials.is_unpromising(2, {"head": 2.9, "tail": 2.9}, others, pruning)
    assert trials.is_unpromising(2, {"tail": 2.9}, others, pruning)
    assert not trials.is_unpromising(2, {"head": 0, "tail": 3.1}, others, pruning)
    assert not trials.is_unpromising(2, {"head": 3.1, "tail": 0}, others, pruning)
    assert not trials.is_unpromising(2, {"head": 0, "tail": 0}, others[1:], pruning)
    assert not trials.is_unpromising(1, {"head": 0, "tail": 0}, others, pruning)
    off = Pruning(from_epoch=2, least=1, quantile=0)
    assert not trials.is_unpromising(2, {"head": 0, "tail": 0}, others, off)


def test_unpromising_trials_are_pruned(plan):
    space = {RATE: {"type": "float", "low": 1e-6, "high": 2e-2, "log": True}}
    pruning = {"from_epoch": 1, "least": 2, "quantile": 0.5}
    record, table = run_study(plan(trials=8, space=space, pruning=pruning))
    pruned = table[table["state"] == "pruned"]
    assert len(pruned) > 0
    assert record.states == {"complete": 8 - len(pruned), "pruned": len(pruned)}
    assert (pruned["epochs"] == 1).all()


def test_parameters_of_the_plugins_are_judged_on_users_they_were_not_fitted_on(plan):
    space = {"plugin_training.ridge": {"type": "float", "low": 1.0, "high": 50.0}}
    plugins = PluginTraining(folds=2, factors=None, memory_search=None)
    record, table = run_study(plan(trials=2, space=space, plugins=plugins))
    assert record.judged == "backbone with cross-fitted plugins"
    assert table["tail"].notna().all()


def test_what_is_shipped_gives_way_to_what_is_significantly_better(plan):
    hopeless = {"learning_rate": 1e-5, "weight_average": 0.0}
    shipped = TRAINING.model_copy(update={"schedule": TRAINING.schedule.model_copy(update=hopeless)})
    planned = plan(shipped, trials=3)
    finalists, choice = train_finalists(planned, *run_study(planned))
    assert finalists["candidate"].unique().tolist()[:2] == ["base", "shipped"]
    assert choice.trial is not None
    assert choice.why.startswith("the best finalist on validation targets over the fresh seeds")


def test_what_is_shipped_stays_where_the_best_finalist_may_be_luck(plan):
    space = {"backbone_training.schedule.random_window": {"type": "float", "low": 0.49, "high": 0.51}}
    planned = plan(trials=3, space=space)
    _, choice = train_finalists(planned, *run_study(planned))
    assert choice.trial is None
    assert choice.label == "shipped"
    assert re.search(r"no finalist is significantly better .*; the best is trial \d with .+ % \[", choice.why)


def test_a_trial_that_is_named_is_chosen(straight):
    plan, record, table = straight
    finalists, choice = train_finalists(plan(choose=1), record, table)
    assert choice.trial == 1
    assert choice.training.schedule.learning_rate == table.loc[1, RATE]
    assert choice.training.schedule.epochs == TRAINING.schedule.epochs
    first = finalists[(finalists["candidate"] == "trial 1") & (finalists["group"] == "tail")]["first"]
    assert first.tolist() == [table.loc[1, "tail"]]


def test_finalists_are_measured_by_head_and_tail_of_their_own_data(plan, tmp_path):
    """Whatever share of the users was the head when an earlier study trained the same models."""

    def finalists(head_share, folder):
        data = plan().dataset
        strata = fit_strata(data.split.train_end, Stratification(head_share=head_share))
        planned = replace(plan(trials=1), dataset=replace(data, strata=strata), folder=folder)
        return train_finalists(planned, *run_study(planned))[0].set_index(["candidate", "group"])

    finalists(0.2, tmp_path / "both")
    again, alone = (finalists(0.5, tmp_path / folder) for folder in ("both", "alone"))
    pd.testing.assert_frame_equal(again, alone)


def test_a_trial_that_was_not_completed_cannot_be_chosen(straight):
    plan, record, table = straight
    with pytest.raises(InputError, match=r"tuning.choose = 7 .* there are 0, 1, 2, 3"):
        train_finalists(plan(choose=7), record, table)


def test_a_database_holds_a_study_as_well(plan, tmp_path):
    planned = plan(trials=1, storage=f"sqlite:///{tmp_path / 'trials.db'}")
    assert run_study(planned)[0].states == {"complete": 1}
    loaded = optuna.load_study(storage=planned.config.storage, study_name=planned.name)
    assert loaded.trials[0].state == TrialState.COMPLETE


def test_a_database_of_mlflow_is_refused_and_left_as_it_was(plan, tmp_path):
    address = f"sqlite:///{tmp_path / 'mlflow.db'}"
    with sqlalchemy.create_engine(address, poolclass=sqlalchemy.NullPool).begin() as database:
        database.execute(sqlalchemy.text("CREATE TABLE experiments (name TEXT)"))
    with pytest.raises(InputError, match=r"has the tables of MLflow.* create another one"):
        run_study(plan(storage=address))
    engine = sqlalchemy.create_engine(address, poolclass=sqlalchemy.NullPool)
    assert sqlalchemy.inspect(engine).get_table_names() == ["experiments"]


def test_a_database_that_is_not_there_is_a_sentence_without_its_password(plan):
    with pytest.raises(InputError, match=r"tuning\.storage") as error:
        run_study(plan(storage="sqlite://user:secret@/nowhere/to/be/found.db"))
    assert "secret" not in str(error.value)


def test_where_no_rule_is_shipped_the_strength_is_tuned_all_the_same_and_the_base_may_win(plan):
    """λ opens deconfounded aggregation; the shipped configuration is the base, and is one of the finalists."""
    when = {"backbone_training.aggregation.rule": [None]}
    planned = plan(TRAINING.model_copy(update={"aggregation": None}), trials=2,
                   space={STRENGTH: {"type": "float", "low": 0.0, "high": 1.0, "when": when}})  # fmt: skip
    assert planned.space.configured({STRENGTH: 0.25})[0].aggregation.strength == 0.25
    record, table = run_study(planned)
    assert table[STRENGTH].between(0, 1).all()
    finalists, choice = train_finalists(planned, record, table)
    assert "shipped" not in set(finalists["candidate"])
    assert any(label.startswith("trial") for label in finalists["candidate"])
    assert (choice.training.aggregation is None) is (choice.label == "base")
