"""Promotion and rollback: the aliases of the registry move, or the refusal says why they do not."""

import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from pinet_kedro.dataset import Dataset
from pinet_kedro.errors import InputError
from pinet_kedro.evaluation.catalogue_alignment import PopularityScorer
from pinet_kedro.evaluation.challenge import Challenge, run_challenge
from pinet_kedro.evaluation.ranks import Scorer
from pinet_kedro.plugins.popularity import count_popularity
from pinet_kedro.recommender import Recommender
from pinet_kedro.registry.aliases import (
    CHALLENGER,
    CHAMPION,
    PREVIOUS,
    ChampionChangedError,
    Tagged,
    move,
    read_aliases,
    repair,
    tag_unless_champion,
)  # fmt: skip
from pinet_kedro.registry.decision import (
    INTERRUPTED,
    PREDECESSOR_TAG,
    PROMOTED,
    ROLLED_BACK,
    ROLLED_BACK_TAG,
    Decision,
    Gate,
)
from pinet_kedro.registry.fresh_process import try_version
from pinet_kedro.registry.gates import judge
from pinet_kedro.registry.promotion_config import Promotion
from pinet_kedro.registry.versions import fetch_version, load_version, read_version
from pinet_kedro.tracking import runs as tracking
from pinet_kedro.tracking.config import Tracking

if TYPE_CHECKING:
    from mlflow import MlflowClient

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Newest:
    """The data that a challenger is judged on, as the data stages leave them, whether they passed validation, and what
    else has to be known to read the figures."""

    dataset: Dataset
    validation: Gate
    notes: tuple[str, ...] = ()


def promote(newest: Newest, config: Promotion, registry: Tracking, run_id: str | None = None) -> Decision:
    """The decision on one version. The aliases have moved as it says, and the version carries it as tags.

    `run_id`: the MLflow run that decides, which the decision names.

    A champion that somebody else moves in the meantime makes it a refusal. Raises `InputError` where there is no such
    version, or nothing to judge it by.
    """
    client = tracking.connect(registry)
    notes = [said] if (said := repair(client, registry.model)) else []
    aliases = read_aliases(client, registry.model)
    version = _version(client, registry.model, config.version, aliases)
    champion = aliases.get(CHAMPION)
    told: dict[str, Any] = {
        "model": registry.model,
        "version": version,
        "against": f"version {champion}" if champion else "popularity",
        "champion_before": champion,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "run_id": run_id,
    }
    if version == champion:
        already = f"version {version} is the champion already: train and register another one"
        return Decision(promoted=False, reasons=(already,), notes=tuple(notes), **told)
    tags = client.get_model_version(registry.model, version).tags
    gates, challenge = _evaluate(newest, config, registry, version, champion, tags)
    reasons = tuple(f"{gate.name}: {gate.measured} (required: {gate.asked})" for gate in gates if not gate.passed)
    decision = Decision(
        promoted=not reasons or config.force is not None,
        gates=gates,
        reasons=reasons,
        forced=config.force,
        notes=(*notes, *_notes(newest, challenge, told["against"], tags)),
        groups={} if challenge is None else challenge.groups,
        data={
            "sha256": newest.dataset.sha256,
            "users": newest.dataset.n_users,
            "items": newest.dataset.n_items,
            "events": len(newest.dataset.sequences.items),
            "test_targets": len(newest.dataset.test_users),
        },
        **told,
    )
    return _carry_out(client, decision)


def roll_back(registry: Tracking, reason: str) -> tuple[str, str]:
    """The version that was champion and the one that is now: that of `previous`.

    `previous` becomes the champion before that one, so a second rollback goes a step further back. The version that was
    rolled back keeps the reason as a tag, and is not promoted again unless it is forced. Goes through while a
    promotion is at work, which will find its champion changed.
    """
    client = tracking.connect(registry, write=True)
    if said := repair(client, registry.model):
        log.warning("%s.", said.capitalize())
    aliases = read_aliases(client, registry.model)
    bad, good = aliases.get(CHAMPION), aliases.get(PREVIOUS)
    if bad is None or good is None:
        raise InputError(f"there is no {'champion' if bad is None else 'previous version'}: nothing to roll back to.")
    known = client.get_model_version(registry.model, good).tags
    before = known.get(PREDECESSOR_TAG) or known.get("decision.champion_before")  # versions of before that tag
    earlier = before if before in _versions(client, registry.model) and before != bad else None
    date = datetime.now(UTC).isoformat(timespec="seconds")
    tags = {"decision": ROLLED_BACK, "decision.date": date, ROLLED_BACK_TAG: f"{date}: {reason}"[:4000]}
    told = Tagged(bad, tags, undone={"decision": PROMOTED, ROLLED_BACK_TAG: None})
    move(client, registry.model, champion=good, previous=earlier, expected=bad, tagged=told)
    return bad, good


def list_versions(registry: Tracking) -> list[dict[str, Any]]:
    """Every version, newest first: `version, created, aliases, decision` and the tags of its evaluation."""
    client = tracking.connect(registry)
    aliases = read_aliases(client, registry.model)
    rows = []
    for number in sorted(_versions(client, registry.model), key=int, reverse=True):
        found = client.get_model_version(registry.model, number)
        rows.append(
            {
                **found.tags,
                "version": number,
                "created": datetime.fromtimestamp(found.creation_timestamp / 1000, UTC),
                "aliases": sorted(alias for alias, version in aliases.items() if version == number),
            }
        )
    return rows


def _versions(client: "MlflowClient", model: str) -> set[str]:
    return {str(found.version) for found in client.search_model_versions(f"name = '{model}'", max_results=10_000)}


def _version(client: "MlflowClient", model: str, asked: int | None, aliases: dict[str, str]) -> str:
    there_are = f"kedro models lists the versions of '{model}'"
    if asked is None:
        if CHALLENGER not in aliases:
            raise InputError(f"no version of '{model}' has the alias '{CHALLENGER}'. {there_are}.")
        return aliases[CHALLENGER]
    if str(asked) not in _versions(client, model):
        raise InputError(f"there is no version {asked}. {there_are}.")
    return str(asked)


def _evaluate(
    newest: Newest, config: Promotion, registry: Tracking, version: str, champion: str | None, tags: dict[str, str]
) -> tuple[tuple[Gate, ...], Challenge | None]:
    asked = config.fresh_process
    challenge: Challenge | str = "not measured: it does not answer"
    with TemporaryDirectory() as folder:
        # Files that are not the registered ones are an error, and no matter of gates: not even force promotes them.
        files = fetch_version(version, registry, Path(folder))
        log.info("Version %s of %s answers in a fresh process …", version, registry.model)
        answer = try_version(files, asked.requests, asked.timeout_s)
        if answer.fault is None:
            log.info("Version %s and %s are ranked on the same targets …", version, champion or "popularity")
            challenge = _run_challenge(newest, registry, version, files, champion)
    gates = judge(config.gates, challenge, answer, newest.validation, tags, newest.dataset.strata)
    return gates, None if isinstance(challenge, str) else challenge


def _run_challenge(
    newest: Newest, registry: Tracking, version: str, files: Path, champion: str | None
) -> Challenge | str:
    """The challenge, or why it could not be run."""
    reference: Scorer | Recommender
    try:
        challenger = read_version(version, files)
        if champion is None:
            reference = PopularityScorer(count_popularity(newest.dataset))
        else:
            reference = load_version(champion, registry)
        return run_challenge(challenger, reference, newest.dataset)
    except (InputError, FloatingPointError) as error:
        return f"not measured: {error}"


def _notes(newest: Newest, challenge: Challenge | None, against: str, tags: dict[str, str]) -> list[str]:
    notes = list(newest.notes)
    trained_on = tags.get("data.sha256")
    if trained_on != newest.dataset.sha256:
        notes.append(
            "the version was not trained on the data that it is judged on: its figures flatter it if it has seen their "
            "test targets"
        )
    if challenge is not None:
        if not challenge.as_served:
            notes.append(f"{against} is served with another policy on seen items than the one that both are judged by")
        for name, missed in zip(("the challenger", against), challenge.unknown_targets, strict=True):
            if missed:
                notes.append(f"{missed:,} test targets are items that {name} does not know: misses for it")
    return notes


def _carry_out(client: "MlflowClient", decision: Decision) -> Decision:
    """The final decision: a promotion becomes a refusal if the champion is no longer the version that was judged."""
    model, version = decision.model, decision.version
    if decision.promoted:
        try:
            before = decision.champion_before
            earlier = client.get_model_version(model, version).tags.get(PREDECESSOR_TAG)
            told = Tagged(
                version,
                {**decision.tags(), PREDECESSOR_TAG: before or "none"},
                undone={"decision": INTERRUPTED, PREDECESSOR_TAG: earlier},
            )
            move(client, model, version, previous=before, expected=before, tagged=told)
            return decision
        except ChampionChangedError as error:
            decision = decision.model_copy(update={"promoted": False, "reasons": (*decision.reasons, str(error))})
    if not tag_unless_champion(client, model, version, decision.tags()):
        note = f"another process has promoted version {version} in the meantime, and its record stays"
        decision = decision.model_copy(update={"notes": (*decision.notes, note)})
    return decision
