"""Rollback: the version before the champion is the champion again."""

import logging

from pinet_kedro.errors import InputError
from pinet_kedro.promotion.decision import DECISION_TAG, PREDECESSOR_TAG, ROLLED_BACK_TAG, Decision
from pinet_kedro.promotion.history import date_of_decision, keep_rollback
from pinet_kedro.registry.aliases import CHAMPION, PREVIOUS, Tagged, move, read_aliases, repair
from pinet_kedro.registry.versions import version_numbers
from pinet_kedro.tracking import runs as tracking
from pinet_kedro.tracking.config import Tracking

log = logging.getLogger(__name__)


def roll_back(registry: Tracking, reason: str, environment: str = "local") -> tuple[str, str]:
    """Makes `previous` the champion; returns the old and the new champion.

    `previous` becomes the champion before that one, so a second rollback goes one step further back. The version that
    is rolled back keeps the reason as a tag and cannot be promoted again without force. A rollback also works during a
    promotion, which then finds that the champion has changed. The aliases move first; then the rollback is recorded,
    as a run of its own and in the history of the version, which may fail without undoing it.
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
    decision = Decision(
        promoted=False,
        model=registry.model,
        version=bad,
        against=f"version {good}",
        champion_before=bad,
        reasons=(reason,),
        restored=good,
        date=date_of_decision(client, registry.model, bad),
    )
    now = client.get_model_version(registry.model, bad).tags.get(DECISION_TAG)
    tags = {**decision.tags(), ROLLED_BACK_TAG: f"{decision.date}: {reason}"[:4000]}
    tagged = Tagged(bad, tags, undone={DECISION_TAG: now, ROLLED_BACK_TAG: None})
    move(client, registry.model, champion=good, previous=earlier, expected=bad, tagged=tagged)
    keep_rollback(client, decision, registry, environment)
    return bad, good
