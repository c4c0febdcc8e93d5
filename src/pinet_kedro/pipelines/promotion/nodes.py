"""Adapters of `registry` to the catalog."""

from typing import Any

from pinet_kedro.dataset import Dataset
from pinet_kedro.pipelines.types import Manifest
from pinet_kedro.promotion.config import Promotion
from pinet_kedro.tracking.run_info import RunInfo
from pinet_kedro.validation.data_docs import DATA_DOCS


def promote(
    dataset: Dataset,
    manifest: Manifest,
    config: Promotion,
    run: RunInfo,
    notes: tuple[str, ...] = (),
    data_docs: str = DATA_DOCS,
) -> tuple[dict[str, Any], str]:
    """The decision as `promotion.json` stores it, and its page; `notes` are added to the decision's own."""
    from pinet_kedro.promotion.gates import read_validation
    from pinet_kedro.promotion.page import render_promotion
    from pinet_kedro.promotion.promote import Newest, promote
    from pinet_kedro.tracking.server import sentence

    newest = Newest(dataset, read_validation(manifest, data_docs), notes)
    undecided = (
        "The version is not decided on: do it again when the server answers. That also finishes or undoes a move of "
        "the aliases that had begun."
    )
    with sentence(run.tracking.uri, undecided):
        decision = promote(newest, config, run.tracking, run.mlflow_id)
    return decision.model_dump(mode="json"), render_promotion(decision)
