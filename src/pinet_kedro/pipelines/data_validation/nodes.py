"""Adapters of `interactions` to the catalog."""

import pandas as pd

from pinet_kedro.interactions.events import Cleaning, Interactions


def clean_events(raw: Interactions, config: Cleaning) -> tuple[Interactions, pd.DataFrame]:
    """The remaining events with their origin, and a table of what each rule dropped."""
    return Interactions.of(raw).cleaned(config)
