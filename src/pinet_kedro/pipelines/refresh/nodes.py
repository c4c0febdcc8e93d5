"""Adapters of `refresh` to the catalog."""

from collections.abc import Callable
from typing import Any

import pandas as pd

from pinet_kedro.dataset import Dataset
from pinet_kedro.interactions.events import Cleaning
from pinet_kedro.pipelines.types import Champion, Growth, Intake, RawLog, VersionModels
from pinet_kedro.promotion.config import Promotion
from pinet_kedro.refresh.config import Refresh
from pinet_kedro.retraining.partitions import Delivery
from pinet_kedro.retrieval.config import TwoStage
from pinet_kedro.tracking.config import Tracking
from pinet_kedro.tracking.run_info import RunInfo


def find_champion(delivery: Delivery, registry: Tracking) -> tuple[Delivery, Champion]:
    """The delivery and the champion, if that has not learnt all partitions; otherwise the run ends (`NothingToDo`)."""
    from pinet_kedro.refresh.refresh import require_unlearnt

    return delivery, require_unlearnt(delivery, registry)


def find_growth(
    champion: Champion,
    raw_log: RawLog | None,
    accepted: dict[str, Callable[[], pd.DataFrame]],
    intake: Intake,
    cleaning: Cleaning,
) -> Growth:
    """The histories of the users with new events, as the champion has learnt them and as they are now."""
    from pinet_kedro.refresh.growth import find_growth
    from pinet_kedro.refresh.refresh import gather_unlearnt

    return find_growth(champion.models.served, *gather_unlearnt(champion, raw_log, accepted, intake), cleaning)


def refresh_scorers(
    champion: Champion, growth: Growth, config: Refresh, two_stage: TwoStage
) -> tuple[VersionModels, Dataset]:
    """The refreshed models, the served and the judged one, and the data to judge them on."""
    from dataclasses import replace

    from pinet_kedro.fitting.two_stage import in_two_stages
    from pinet_kedro.refresh.refresh import refresh

    models, dataset = refresh(champion, growth, config.held_out)
    return replace(models, served=in_two_stages(models.served, dataset, two_stage)), dataset


def register(models: VersionModels, champion: Champion, growth: Growth, intake: Intake, run: RunInfo) -> dict[str, Any]:
    """Name, number, alias and run of the registered version, which is derived from the champion."""
    from pinet_kedro.refresh.refresh import register

    return register(models, champion, growth, intake, run)


def judge(
    dataset: Dataset, growth: Growth, intake: Intake, config: Promotion, run: RunInfo, registered: dict[str, Any]
) -> tuple[dict[str, Any], str]:
    """The decision on the refreshed version, and its page."""
    from pinet_kedro.pipelines.promotion.nodes import promote
    from pinet_kedro.refresh.refresh import accepted_by_gate

    mine = config.model_copy(update={"version": int(registered["version"])})
    return promote(dataset, accepted_by_gate(intake), mine, run, (growth.sentence(),))
