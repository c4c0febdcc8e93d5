"""Typed configuration of retraining; free of torch and mlflow, so that the command line can read it at no cost."""

from typing import Literal

from pydantic import Field, StrictBool

from pinet_kedro.configuration import Configuration, Count, Text


class Retraining(Configuration):
    """What a scheduled run does with new partitions and with the champion."""

    raw_log: StrictBool = Field(True, description="the raw log of the environment is part of the training data")
    start: Literal["warm", "cold"] = Field("warm", description="from the champion's weights, or from fresh ones")
    warm_epochs: float = Field(0.3333, gt=0, le=1, description="warm: share of backbone_training.schedule.epochs")
    newer_targets: Count = Field(
        30,
        description="only events that the champion has not learnt are held out if they have at least so many "
        "validation targets and so many test targets; with fewer, training starts cold",
    )
    bad_partition: Literal["set_aside", "stop"] = Field(
        "set_aside", description="one that breaks a rule is set aside and the others go on, or the run stops"
    )
    changed_partition: Literal["stop", "replace"] = Field(
        "stop",
        description="one that was taken before with another content, or another raw log, stops the run, or replaces "
        "what was taken",
    )
    suite: Text = Field("conf/base/expectations/raw_events.json", description="what each partition must meet")
    rejected: Text = Field("data/01_raw/rejected", description="where bad partitions go, with their reports")
