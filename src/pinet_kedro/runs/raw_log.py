"""Tells the dataset `raw_log` which catalog it is in."""

from kedro.framework.hooks import hook_impl
from kedro.io import CatalogProtocol
from kedro.pipeline import Pipeline

_NAME = "raw_log"


class RawLogHook:
    """The raw log of retraining is `raw_interactions`, which the environment defines."""

    @hook_impl
    def before_pipeline_run(self, pipeline: Pipeline, catalog: CatalogProtocol) -> None:
        """Nothing is opened before retraining has something to do."""
        if _NAME in pipeline.inputs():
            catalog.get(_NAME).catalog = catalog  # type: ignore[union-attr]
