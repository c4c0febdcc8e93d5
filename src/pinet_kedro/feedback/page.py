"""The page of the feedback report."""

from pathlib import Path

from pinet_kedro.feedback.report import FeedbackReport
from pinet_kedro.reporting.page import render
from pinet_kedro.reporting.text import GROUP_LABELS


def render_feedback(report: FeedbackReport) -> str:
    """A self-contained HTML page in the style of the report; it loads nothing from the network."""
    return render(Path(__file__).with_name("feedback.html.j2"), report=report, labels=GROUP_LABELS)
