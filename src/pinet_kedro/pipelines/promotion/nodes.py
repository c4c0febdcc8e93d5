"""Adapters of `registry` to the catalog."""

from typing import Any

from pinet_kedro.dataset import Dataset
from pinet_kedro.pipelines.types import Manifest
from pinet_kedro.promotion.config import Promotion
from pinet_kedro.promotion.decision import Gate
from pinet_kedro.tracking.run_info import RunInfo


def judge_validation(
    dataset: Dataset,  # noqa: ARG001  its manifest and the results of validation are there when it has been made
    manifest: Manifest,
    reports: list[dict[str, Any]],
) -> Gate:
    """The gate on the validation of the data."""
    from pinet_kedro.promotion.gates import judge_validation

    return judge_validation(manifest, reports)


def promote(
    dataset: Dataset, validation: Gate, config: Promotion, run: RunInfo, notes: tuple[str, ...] = ()
) -> tuple[dict[str, Any], str]:
    """The decision as `promotion.json` stores it, and its page; `notes` are added to the decision's own."""
    from pinet_kedro.promotion.page import render_promotion
    from pinet_kedro.promotion.promote import Newest, promote
    from pinet_kedro.tracking.server import sentence

    newest = Newest(dataset, validation, notes)
    undecided = (
        "The version is not decided on: do it again when the server answers. That also finishes or undoes a move of "
        "the aliases that had begun."
    )
    with sentence(run.tracking.uri, undecided):
        decision = promote(newest, config, run.tracking, run.mlflow)
    return decision.model_dump(mode="json"), render_promotion(decision)
