"""Adapters of `interactions` to the catalog."""

import pandas as pd

from pinet_kedro.interactions import events
from pinet_kedro.interactions.events import Cleaning, Interactions


def clean_events(raw: Interactions, config: Cleaning) -> tuple[Interactions, pd.DataFrame]:
    """The remaining events with their origin, and a table of what each rule dropped."""
    interactions = Interactions.of(raw)
    left, dropped = events.clean_events(interactions.events, config, interactions.origin.file)
    return Interactions(left, interactions.origin), dropped
