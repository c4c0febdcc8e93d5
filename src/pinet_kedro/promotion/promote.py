"""Promotion: a version is judged against the champion; the aliases move, or the refusal says why they do not."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from pinet_kedro.dataset import Dataset
from pinet_kedro.errors import InputError, NothingToDo
from pinet_kedro.evaluation.catalogue_alignment import PopularityScorer
from pinet_kedro.evaluation.challenge import Challenge, run_challenge
from pinet_kedro.evaluation.ranks import Scorer
from pinet_kedro.fitting.refit import before_test
from pinet_kedro.plugins.popularity import count_popularity
from pinet_kedro.promotion.agreement import disagreement, histories_of
from pinet_kedro.promotion.config import Promotion
from pinet_kedro.promotion.decision import (
    DECISION_TAG,
    GAIN_TAG,
    INTERRUPTED,
    PREDECESSOR_TAG,
    Decision,
    Gate,
)
from pinet_kedro.promotion.fresh_process import try_version
from pinet_kedro.promotion.gates import GateInputs, judge, measured_groups
from pinet_kedro.promotion.history import complete, date_of_decision, keep
from pinet_kedro.recommender import Recommender
from pinet_kedro.registry.aliases import (
    CHALLENGER,
    CHAMPION,
    ChampionChangedError,
    Tagged,
    move,
    read_aliases,
    repair,
    tag_unless_champion,
)  # fmt: skip
from pinet_kedro.registry.loading import HELD_OUT, VersionModels, held_out, load_models, read_models
from pinet_kedro.registry.users import share_known
from pinet_kedro.registry.versions import fetch_version, version_numbers
from pinet_kedro.tracking import runs as tracking
from pinet_kedro.tracking.config import Tracking
from pinet_kedro.tracking.run_info import MlflowRun

if TYPE_CHECKING:
    from mlflow import MlflowClient

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Newest:
    """The data that a challenger is judged on, the gate of their validation, and notes for readers of the decision."""

    dataset: Dataset
    validation: Gate
    notes: tuple[str, ...] = ()


class ChampionAlready(NothingToDo):
    """The version is the champion already; `decision` says so, and is no part of the history."""

    def __init__(self, decision: Decision) -> None:
        super().__init__(f"{decision.notes[-1].capitalize()}: nothing to decide, and nothing has changed.")
        self.decision = decision


def promote(newest: Newest, config: Promotion, registry: Tracking, run: MlflowRun | None = None) -> Decision:
    """The decision on one version, which is in the history of the version; the aliases have been moved accordingly.

    `run` is the MLflow run that decides. If the champion changes in the meantime, the version is refused. Raises
    `ChampionAlready`, and changes nothing, if the version is the champion, and `InputError` if there is no such
    version, or no data to judge it on.
    """
    client = tracking.connect(registry)
    repaired = repair(client, registry.model)
    notes = [note for note in (repaired, complete(client, registry.model)) if note]
    aliases = read_aliases(client, registry.model)
    version = _version(client, registry.model, config.version, aliases)
    champion = aliases.get(CHAMPION)
    facts: dict[str, Any] = {
        "model": registry.model,
        "version": version,
        "against": f"version {champion}" if champion else "popularity",
        "champion_before": champion,
        "date": date_of_decision(client, registry.model, version),
        "run_id": run.run_id if run else None,
    }
    if version == champion:
        facts |= {
            "against": "itself",
            "champion_before": None,
            "notes": (*notes, f"version {version} is the champion already"),
        }
        raise ChampionAlready(Decision(promoted=True, **facts))
    mine = client.get_model_version(registry.model, version).tags
    gates, challenge, compared = _evaluate(newest, config, registry, version, mine, champion)
    # Without any comparison nothing speaks for the version.
    lenient = config.gates.unmeasured == "pass" and challenge is not None
    missed = [gate for gate in gates if not gate.passed and not (gate.unmeasured and lenient)]
    reasons = tuple(gate.reason for gate in missed)
    decision = Decision(
        promoted=not reasons or config.force is not None,
        gates=gates,
        reasons=reasons,
        forced=config.force,
        notes=(*notes, *compared, *_notes(newest, challenge, facts["against"])),
        groups={} if challenge is None else measured_groups(challenge, config.gates),
        data={
            "name": mine.get("data.name", "dataset") if mine.get("data.sha256") == newest.dataset.sha256 else "dataset",
            "sha256": newest.dataset.sha256,
            "users": newest.dataset.n_users,
            "items": newest.dataset.n_items,
            "events": len(newest.dataset.sequences.items),
            "test_targets": len(newest.dataset.test_users),
        },
        **facts,
    )
    decision = _carry_out(client, decision)
    keep(client, decision, run)
    return decision


def _version(client: "MlflowClient", model: str, wanted: int | None, aliases: dict[str, str]) -> str:
    hint = f"kedro models lists the versions of '{model}'"
    if wanted is None:
        if CHALLENGER not in aliases:
            raise InputError(f"no version of '{model}' has the alias '{CHALLENGER}'. {hint}.")
        return aliases[CHALLENGER]
    if str(wanted) not in version_numbers(client, model):
        raise InputError(f"there is no version {wanted}. {hint}.")
    return str(wanted)


def _evaluate(
    newest: Newest, config: Promotion, registry: Tracking, version: str, tags: Mapping[str, str], champion: str | None
) -> tuple[tuple[Gate, ...], Challenge | None, list[str]]:
    """The gates, the comparison if there was one, and notes on the models that were compared."""
    settings = config.fresh_process
    client = tracking.connect(registry)
    theirs = None if champion is None else client.get_model_version(registry.model, champion).tags
    silent = "it does not answer"
    challenge: Challenge | str = silent
    learnt: str | None = silent
    notes: list[str] = []
    shared_users: float | None = None
    with TemporaryDirectory() as folder:
        # Files that are not the registered ones are an error rather than a failed gate: force does not promote them.
        files = fetch_version(version, registry, Path(folder))
        log.info("Trying version %s of %s in a fresh process …", version, registry.model)
        histories = histories_of(newest.dataset)
        result = try_version(files, settings.requests, settings.timeout_s, histories)
        if result.fault is None:
            log.info("Ranking the same targets with version %s and %s …", version, champion or "popularity")
            try:
                models = read_models(version, files, tags)
                result = replace(result, fault=disagreement(models.served, histories, result.answers))
                learnt = _learnt(newest.dataset, models, tags)
                challenger, reference, notes, shared_users = _compared(newest, registry, models, champion)
                challenge = run_challenge(challenger, reference, newest.dataset)
            except (InputError, FloatingPointError) as error:
                challenge = str(error)
    strata = newest.dataset.strata
    gates = judge(
        GateInputs(config.gates, challenge, result, newest.validation, tags, strata, theirs, learnt, shared_users)
    )
    return gates, None if isinstance(challenge, str) else challenge, notes


def _learnt(dataset: Dataset, models: VersionModels, tags: Mapping[str, str]) -> str | None:
    """Why the model that is compared may have learnt the targets; None if it has not."""
    if models.unseen(dataset.first_target) is not None:
        return None
    if tags.get("data.sha256") != dataset.sha256:
        return "it was trained on other data, in which it may have learnt the targets"
    if tags.get(HELD_OUT, part := held_out(dataset)) != part:
        return "it was trained on these data as they were split before, and may have learnt the targets of this split"
    return None


def _compared(
    newest: Newest, registry: Tracking, mine: VersionModels, champion: str | None
) -> tuple[Recommender, Scorer | Recommender, list[str], float | None]:
    """The models that rank the targets for the challenger and for its reference, a note if there is one, and the share
    of the champion's users that the challenger knows.

    A model that has learnt targets would seem better than it is, so a version that has is represented by its judged
    model. Popularity counts the events that the challenger's model has learnt.
    """
    since = newest.dataset.first_target
    challenger = mine.compared(since)
    if champion is None:
        counted = newest.dataset if mine.judged is None else before_test(newest.dataset)
        return challenger, PopularityScorer(count_popularity(counted)), [], None
    theirs = load_models(champion, registry)
    reference = theirs.compared(since)
    note = f"version {champion} is compared as it was before its refit, which has learnt some of the targets"
    shared_users = share_known(theirs.users, mine.users)
    return challenger, reference, [] if reference is theirs.served else [note], shared_users


def _notes(newest: Newest, challenge: Challenge | None, against: str) -> list[str]:
    notes = list(newest.notes)
    if challenge is not None:
        if not challenge.as_served:
            notes.append(f"{against} is served with a policy on seen items that differs from that of this comparison")
        for name, missed in zip(("the challenger", against), challenge.unknown_targets, strict=True):
            if missed:
                notes.append(f"{name} does not know the items of {missed:,} of the test targets: misses for it")
    return notes


def _carry_out(client: "MlflowClient", decision: Decision) -> Decision:
    """Carries out the decision and returns it; it becomes a refusal if the champion has changed meanwhile."""
    model, version = decision.model, decision.version
    if decision.promoted:
        try:
            before = decision.champion_before
            earlier = client.get_model_version(model, version).tags
            tagged = Tagged(
                version,
                {**decision.tags(), PREDECESSOR_TAG: before or "none"},
                undone={DECISION_TAG: INTERRUPTED, **{tag: earlier.get(tag) for tag in (GAIN_TAG, PREDECESSOR_TAG)}},
            )
            move(client, model, version, previous=before, expected=before, tagged=tagged)
            return decision
        except ChampionChangedError as error:
            decision = decision.model_copy(update={"promoted": False, "reasons": (*decision.reasons, str(error))})
    if not tag_unless_champion(client, model, version, decision.tags()):
        note = f"another process has promoted version {version} in the meantime, and its record stays"
        decision = decision.model_copy(update={"notes": (*decision.notes, note)})
    return decision
