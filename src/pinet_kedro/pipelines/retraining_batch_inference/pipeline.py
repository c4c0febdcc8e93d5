"""`kedro run --pipeline=retraining_batch_inference`."""

from kedro.pipeline import Pipeline

from pinet_kedro.pipelines.batch_inference.pipeline import create_pipeline as create_batch_inference
from pinet_kedro.pipelines.namespaces import as_stage, in_retraining


def create_pipeline() -> Pipeline:
    """As `batch_inference`, on the histories that the latest retraining has left."""
    return in_retraining(as_stage("batch_inference", create_batch_inference()), {"recommendations"})
