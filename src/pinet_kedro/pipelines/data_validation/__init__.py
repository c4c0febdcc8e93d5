"""From raw events to clean events, with a gate of expectations for each."""
