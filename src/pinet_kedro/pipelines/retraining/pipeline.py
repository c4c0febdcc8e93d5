"""`kedro run --pipeline=retraining`."""

from kedro.pipeline import Pipeline, node

from pinet_kedro.pipelines.activeness_stratification.pipeline import create_pipeline as create_stratification
from pinet_kedro.pipelines.backbone_training.pipeline import create_pipeline as create_training
from pinet_kedro.pipelines.data_validation.pipeline import create_pipeline as create_validation
from pinet_kedro.pipelines.evaluation.pipeline import create_pipeline as create_evaluation
from pinet_kedro.pipelines.feedback.nodes import show_feedback
from pinet_kedro.pipelines.namespaces import as_stage, in_retraining
from pinet_kedro.pipelines.plugin_training.pipeline import create_pipeline as create_plugins
from pinet_kedro.pipelines.promotion.nodes import judge_validation
from pinet_kedro.pipelines.refit.pipeline import create_pipeline as create_refit
from pinet_kedro.pipelines.registration.nodes import collect
from pinet_kedro.pipelines.retraining.nodes import (
    choose_start,
    conclude,
    effective,
    gather,
    hold_out,
    measure_drift,
    measure_feedback,
    promote,
    read_champion,
    record_training,
    register,
    require_new,
    summarise,
    take_in,
)
from pinet_kedro.pipelines.tags import CHECK

_SPLITTING = "params:retraining_splitting"
# Made or taken by retraining alone: their names need no prefix.
_SHARED = {
    "run_info", "new_interactions", "raw_log", "accepted_partitions", "intake", "drift", "feedback", "feedback_page",
    "retraining", "retraining_page",
}  # fmt: skip


def create_pipeline() -> Pipeline:
    """New partitions -> gate -> drift -> the stages of `full` on the raw log and all partitions, cut in time, from the
    champion's weights -> a version -> the decision on it. Only then do the partitions count as taken.

    Everything that the stages store is in data/retraining: an analyst's results in data/ stay as they are.
    """
    intake = [
        node(
            require_new,
            ["new_interactions", "raw_log", "params:retraining", "params:tracking", "parameters"],
            "delivery",
            name="require_new_partitions",
            tags=CHECK,
        ),
        node(take_in, ["delivery", "params:retraining"], ["accepted_partitions", "intake"], name="take_in"),
        node(
            gather,
            ["raw_log", "accepted_partitions", "intake", "params:retraining", "drift"],
            "all_interactions",
            name="gather_partitions",
        ),
        node(read_champion, ["params:tracking", "intake"], "current_champion", name="read_champion"),
        node(
            measure_drift,
            ["current_champion", "raw_log", "accepted_partitions", "intake", "params:cleaning"],
            "drift",
            name="measure_drift",
        ),
        node(
            measure_feedback,
            ["accepted_partitions", "intake", "params:serving", "params:feedback"],
            "feedback",
            name="measure_feedback",
        ),
        node(show_feedback, "feedback", "feedback_page", name="show_feedback"),
    ]
    held_out = [
        node(
            hold_out,
            ["current_champion", "clean_events", _SPLITTING, "params:exclude_seen", "params:retraining", "intake"],
            ["held_out", "splitting"],
            name="hold_out",
        )
    ]
    start = [
        node(
            choose_start,
            ["current_champion", "held_out", "dataset", "params:backbone_training", "params:retraining"],
            "start",
            name="choose_start",
        ),
        node(effective, ["parameters", "start"], "effective_parameters", name="set_parameters"),
    ]
    judgement = [
        node(record_training, ["intake", "start", "parameters"], "training_record", name="record_training"),
        node(
            collect,
            ["shipped_model", "refit_pin_model", "users", "dataset", "params:two_stage"],
            "version_models",
            name="collect_version",
        ),
        node(
            register,
            ["version_models", "shipped_manifest", "evaluation", "training_record", "run_info"],
            "registered_version",
            name="register_challenger",
        ),
        node(
            judge_validation,
            ["dataset", "dataset_manifest", "validation_results"],
            "validation_gate",
            name="judge_validation",
        ),
        node(
            promote,
            ["dataset", "validation_gate", "params:promotion", "run_info", "registered_version", "start"],
            ["promotion", "promotion_page"],
            name="judge_challenger",
        ),
        node(
            summarise,
            ["intake", "drift", "start", "dataset", "promotion", "feedback"],
            "summary",
            name="summarise",
        ),
        node(
            conclude,
            ["summary", "report", "feedback_page"],
            ["retraining", "retraining_page"],
            name="conclude",
            confirms="new_interactions",
        ),
    ]
    stages = (
        as_stage("data_validation", Pipeline(create_validation(), inputs={"raw_interactions": "all_interactions"}))
        + as_stage("held_out", held_out)
        + as_stage("activeness_stratification", create_stratification("splitting"))
        + as_stage("backbone_training", create_training("start"))
        + as_stage("plugin_training", create_plugins())
        + as_stage("refit", create_refit("start"))
        + as_stage("evaluation", create_evaluation("effective_parameters"))
    )
    return in_retraining(
        as_stage("intake", intake) + as_stage("warm_start", start) + stages + as_stage("judgement", judgement),
        _SHARED,
    )
