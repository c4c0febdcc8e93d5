"""`kedro run --pipeline=retraining`."""

from kedro.pipeline import Pipeline, node

from pinet_kedro.pipelines.activeness_stratification.pipeline import create_pipeline as create_stratification
from pinet_kedro.pipelines.backbone_training.pipeline import create_pipeline as create_training
from pinet_kedro.pipelines.data_validation.pipeline import create_pipeline as create_validation
from pinet_kedro.pipelines.evaluation.pipeline import create_pipeline as create_evaluation
from pinet_kedro.pipelines.plugin_training.pipeline import create_pipeline as create_plugins
from pinet_kedro.pipelines.retraining.nodes import (
    choose_start,
    conclude,
    effective,
    gather,
    measure_drift,
    promote,
    read_champion,
    record_training,
    register,
    require_new,
    take_in,
)
from pinet_kedro.pipelines.tags import CHECK

_SPLITTING = "params:retraining_splitting"


def create_pipeline() -> Pipeline:
    """New partitions -> gate -> drift -> the stages of `full` on all events, cut in time, from the champion's weights
    -> a version -> the decision on it. Only then do the partitions count as taken.
    """
    before = [
        node(
            require_new,
            ["new_interactions", "params:retraining", "params:tracking", "parameters"],
            "delivery",
            name="require_new_partitions",
            tags=CHECK,
        ),
        node(take_in, ["delivery", "params:retraining"], ["accepted_partitions", "intake"], name="take_in"),
        node(gather, ["accepted_partitions", "intake"], "all_interactions", name="gather_partitions"),
        node(read_champion, ["params:tracking", "intake"], "current_champion", name="read_champion"),
        node(measure_drift, ["current_champion", "accepted_partitions", "intake"], "drift", name="measure_drift"),
        node(
            choose_start,
            ["current_champion", "dataset", "params:backbone_training", _SPLITTING, "params:retraining"],
            "start",
            name="choose_start",
        ),
        node(effective, ["parameters", "start"], "retraining_parameters", name="set_parameters"),
    ]
    after = [
        node(record_training, ["dataset", "intake", "start", "parameters"], "training_record", name="record_training"),
        node(
            register,
            ["pin_model", "pin_manifest", "evaluation", "training_record", "run_info"],
            "registered_version",
            name="register_challenger",
        ),
        node(
            promote,
            ["dataset", "dataset_manifest", "params:promotion", "run_info", "registered_version", "start"],
            ["promotion", "promotion_page"],
            name="judge_challenger",
        ),
        node(
            conclude,
            ["intake", "drift", "start", "dataset", "promotion", "report"],
            ["retraining", "retraining_page"],
            name="conclude",
            confirms="new_interactions",
        ),
    ]
    return (
        Pipeline(before)
        + Pipeline(create_validation(), inputs={"raw_interactions": "all_interactions"})
        + Pipeline(create_stratification(), parameters={"params:splitting": _SPLITTING})
        + create_training("start")
        + create_plugins()
        + create_evaluation("retraining_parameters")
        + Pipeline(after)
    )
