"""A learning rate that is too high: the message names the cause and the place of the best model before that."""

import shlex

from pinet_kedro.recommender import Recommender

# One step an epoch: scores grow with the square of steps times rate, and leave what a float can say after some epochs.
ABSURD = ["backbone.name=gru4rec", "schedule.batch_users=1000", "schedule.epochs=60"]


def run(project, *settings):
    parameters = ",".join(f"backbone_training.{setting}" for setting in [*ABSURD, *settings])
    return project.run("--pipeline=full", "--env=test", f"--params={parameters}")


def test_best_model_is_stored_and_the_message_says_where(project):
    result = run(project, "schedule.learning_rate=4.0e+16", "schedule.validate_every=1")
    assert result.exit_code == 1
    assert "Traceback" not in result.output
    folder = project.folder / "data/06_models/diverged_base"
    words = " ".join(result.output.split())
    assert "learning_rate" in words
    assert "The best model before that (epoch " in words
    assert str(folder) in words
    [(items, *_)] = Recommender.load(folder).recommend([[]], k=3)
    assert len(items) == 3
    assert not (project.folder / "data/06_models/base").exists()


def test_a_run_without_a_validated_epoch_names_what_is_stored_and_the_command_that_goes_on(project, caplog):
    with caplog.at_level("WARNING"):
        result = run(project, "schedule.learning_rate=1.0e+30", "schedule.validate_every=100")
        (advice,) = [entry.getMessage() for entry in caplog.records if "kedro run" in entry.getMessage()]
    assert result.exit_code == 1
    assert "No epoch was validated before" in " ".join(result.output.split())
    assert not list((project.folder / "data").glob("06_models/diverged*"))
    stored = advice.partition(" When the cause")[0].removesuffix(".").removeprefix("Stored in data/: the results of ")
    assert set(stored.split(", ")) == {
        "data_validation.clean_events", "activeness_stratification.build_dataset",
        "activeness_stratification.describe_users", "activeness_stratification.describe_items",
    }  # fmt: skip
    command = shlex.split(advice.partition(" with: ")[2])
    assert command[:4] == ["kedro", "run", "--pipeline=full", "--env=test"]
    assert command[4] == "--from-nodes=backbone_training.train_backbones"
    assert "No nodes ran" not in caplog.text
    caplog.clear()
    assert project.run(*command[2:]).exit_code == 1  # the cause is still there
    assert "This run has stored nothing. When the cause is removed, begin again with: kedro run" in caplog.text
    assert project.run(*command[2:5], "--to-nodes=backbone_training.train_backbones").exit_code == 0
