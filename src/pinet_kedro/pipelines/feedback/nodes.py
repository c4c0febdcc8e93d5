"""Adapters of `feedback` to the catalog."""

from pinet_kedro.feedback.config import Feedback
from pinet_kedro.pipelines.types import Delivery, FeedbackReport
from pinet_kedro.serving.config import Serving


def measure(delivery: Delivery, serving: Serving, config: Feedback) -> FeedbackReport:
    """Hit rates of the logged answers, by all files of interactions, whether or not retraining has taken them."""
    from pinet_kedro.feedback.measure import measure_feedback

    return measure_feedback(serving.log.folder, delivery.files, list(delivery.files), config)


def show_feedback(report: FeedbackReport) -> str:
    """The page of the report."""
    from pinet_kedro.feedback.page import render_feedback

    return render_feedback(report)
