"""`kedro run --pipeline=refresh`."""

from kedro.pipeline import Pipeline, node

from pinet_kedro.pipelines.refresh.nodes import find_champion, find_growth, judge, refresh_scorers, register
from pinet_kedro.pipelines.retraining.nodes import take_in
from pinet_kedro.pipelines.tags import CHECK


def create_pipeline() -> Pipeline:
    """New partitions -> gate -> the champion's frozen scorers brought up to date -> a version -> the decision on it.

    Nothing is trained, and the partitions do not count as taken: the next retraining learns from them.
    """
    return Pipeline(
        [
            node(
                find_champion,
                ["new_interactions", "params:tracking"],
                ["refresh_delivery", "refresh_champion"],
                name="find_champion",
                tags=CHECK,
            ),
            node(
                take_in,
                ["refresh_delivery", "params:retraining"],
                ["accepted_partitions", "refresh_intake"],
                name="take_in_unlearnt",
            ),
            node(
                find_growth,
                ["refresh_champion", "raw_log", "accepted_partitions", "refresh_intake", "params:cleaning"],
                "growth",
                name="find_growth",
            ),
            node(
                refresh_scorers,
                ["refresh_champion", "growth", "params:refresh", "params:two_stage"],
                ["refreshed_models", "refresh_dataset"],
                name="refresh_scorers",
            ),
            node(
                register,
                ["refreshed_models", "refresh_champion", "growth", "refresh_intake", "run_info"],
                "refreshed_version",
                name="register_refresh",
            ),
            node(
                judge,
                ["refresh_dataset", "growth", "refresh_intake", "params:promotion", "run_info", "refreshed_version"],
                ["refresh", "refresh_page"],
                name="judge_refresh",
            ),
        ]
    )
