"""Adapters of `registry` to the catalog."""

from typing import Any

from pinet_kedro.pipelines.types import Manifest, Recommender
from pinet_kedro.tracking.config import Tracking


def register(
    model: Recommender, manifest: Manifest, evaluation: dict[str, Any], report: str, config: Tracking,  # noqa: ARG001
) -> dict[str, Any]:  # fmt: skip
    """Name, number, alias and run of the registered version."""
    from pinet_kedro.datasets.manifests import MANIFEST_FILE
    from pinet_kedro.registry.registration import register_model
    from pinet_kedro.tracking import runs as tracking
    from pinet_kedro.tracking.server import sentence

    later = (
        "The model is trained and evaluated, and everything is stored in data/, but it is not registered. When the "
        f"server answers again: {tracking.register_later()}"
    )
    with sentence(config.uri, later):
        return register_model(
            model, evaluation, config, manifest.tags(), {MANIFEST_FILE: manifest.model_dump(mode="json")}
        )
