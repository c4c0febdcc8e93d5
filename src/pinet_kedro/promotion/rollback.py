"""Rollback: the version before the champion is the champion again."""

import logging
from datetime import UTC, datetime

from pinet_kedro.errors import InputError
from pinet_kedro.promotion.decision import PREDECESSOR_TAG, PROMOTED, ROLLED_BACK, ROLLED_BACK_TAG
from pinet_kedro.registry.aliases import CHAMPION, PREVIOUS, Tagged, move, read_aliases, repair
from pinet_kedro.registry.versions import version_numbers
from pinet_kedro.tracking import runs as tracking
from pinet_kedro.tracking.config import Tracking

log = logging.getLogger(__name__)


def roll_back(registry: Tracking, reason: str) -> tuple[str, str]:
    """Makes `previous` the champion; returns the old and the new champion.

    `previous` becomes the champion before that one, so a second rollback goes one step further back. The version that
    is rolled back keeps the reason as a tag and cannot be promoted again without force. A rollback also works during a
    promotion, which then finds that the champion has changed.
    """
    client = tracking.connect(registry, write=True)
    if repaired := repair(client, registry.model):
        log.warning("%s.", repaired.capitalize())
    aliases = read_aliases(client, registry.model)
    bad, good = aliases.get(CHAMPION), aliases.get(PREVIOUS)
    if bad is None or good is None:
        raise InputError(f"there is no {'champion' if bad is None else 'previous version'}: nothing to roll back to.")
    known = client.get_model_version(registry.model, good).tags
    before = known.get(PREDECESSOR_TAG) or known.get("decision.champion_before")  # versions older than the tag
    earlier = before if before in version_numbers(client, registry.model) and before != bad else None
    date = datetime.now(UTC).isoformat(timespec="seconds")
    tags = {"decision": ROLLED_BACK, "decision.date": date, ROLLED_BACK_TAG: f"{date}: {reason}"[:4000]}
    tagged = Tagged(bad, tags, undone={"decision": PROMOTED, ROLLED_BACK_TAG: None})
    move(client, registry.model, champion=good, previous=earlier, expected=bad, tagged=tagged)
    return bad, good
