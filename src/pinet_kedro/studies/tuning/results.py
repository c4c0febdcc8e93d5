"""What a study leaves: the tuned configuration as a complete Kedro environment, the page, and lines on the console."""

import math
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
from plotly.graph_objects import Figure

from pinet_kedro.activeness import Stratification
from pinet_kedro.environments import catalog_text, parameters_text
from pinet_kedro.interactions.events import Cleaning
from pinet_kedro.interactions.split import ExcludeSeen, Splitting
from pinet_kedro.parameters import plain
from pinet_kedro.provenance import git_state, versions
from pinet_kedro.reporting.page import render
from pinet_kedro.reporting.text import GROUP_LABELS, NONE, number, with_interval
from pinet_kedro.studies.tuning.finalists import Choice
from pinet_kedro.studies.tuning.study import Record
from pinet_kedro.studies.tuning.trial import GROUPS

_MEASURES = {"first": "First value", "short": "Fresh seeds", "valid": "In full", "test": "Test", "pin": "With plugins"}


def render_tuning(
    record: Record, trials: pd.DataFrame, finalists: pd.DataFrame, choice: Choice, figures: dict[str, Figure]
) -> str:
    """A self-contained HTML page in the style of the report; nothing is loaded from the network."""
    measured = pd.DataFrame({"Candidate": finalists["candidate"], "Users": finalists["group"].map(GROUP_LABELS)})
    for kind, title in _MEASURES.items():
        measured[title] = [_with_gain(row, kind) for row in finalists.to_dict("records")]
    columns = ["number", "state", "front", *GROUPS, "epochs", *(name for name in record.space if name in trials)]
    columns += ["reason"] if trials["reason"].notna().any() else []
    tried = trials[columns].assign(front=trials["front"].map({True: "yes", False: "no"}))
    tried = tried.map(_cell).rename(columns=lambda name: ".\n".join(name.split(".")[-2:]))
    template, gains = Path(__file__).with_name("tuning.html.j2"), gains_of_trials(finalists)
    return render(template, figures, record=record, choice=choice, gains=gains, finalists=measured, trials=tried)


def gains_of_trials(finalists: pd.DataFrame) -> list[str]:
    """One sentence a trial among the finalists: the gains of tail and head users over the shipped configuration."""
    rows = finalists[finalists["valid_low"].notna()].set_index(["candidate", "group"])
    gains = rows[["valid_gain", "valid_low", "valid_high"]].apply(tuple, axis=1).to_dict()
    return [
        f"{label.capitalize()} in full, on validation targets, NDCG@10: "
        + ", ".join(f"{group} users {with_interval(gains.get((label, group)))}" for group in ("tail", "head"))
        for label in dict.fromkeys(finalists["candidate"])
        if label.startswith("trial")
    ]


def summary_lines(record: Record, finalists: pd.DataFrame, choice: Choice) -> list[str]:
    """Short lines for the console: the trials, the front, the finalists, the choice."""
    lines = [f"Study {record.study}: {record.progress}; best trials: {', '.join(map(str, record.front)) or 'none'}"]
    for row in finalists[finalists["group"].isin(GROUPS)].to_dict("records"):
        values = [f"{title.lower()} {number(row[kind])}" for kind, title in _MEASURES.items()]
        lines.append(f"{row['candidate'].capitalize()}, {row['group']} users, NDCG@10: {', '.join(values)}")
    return [*lines, *gains_of_trials(finalists), f"Chosen: {choice.label}, {choice.why}"]


def _with_gain(row: dict[Any, Any], kind: str) -> str:
    """A finalist's value and its deviation over seeds; in a second line its gain with the interval."""
    text = number(row[kind])
    if pd.notna(deviation := row.get(f"{kind}_deviation")):
        text += f" ± {number(deviation)}"
    gain, low, high = (row.get(f"{kind}_{end}", math.nan) for end in ("gain", "low", "high"))
    lines = [text, with_interval((gain, low, high))] if pd.notna(low) else [text]
    return "\n".join(lines).replace(" ", "\N{NO-BREAK SPACE}")


def _cell(value: Any) -> str:
    return NONE if pd.isna(value) else f"{value:.4g}" if isinstance(value, float) else str(value)


def write_environment(
    choice: Choice, record: Record, parameters: dict[str, Any], conf: Path, env: str
) -> tuple[str, str]:
    """Texts of `parameters.yml` and `catalog.yml` of the tuned environment.

    It has everything that the files of environment `env` have, with the chosen values in place; the sections of data
    and training and the catalog are those of the study, parameters of the command line included. Credentials are left
    out. Raises `InputError` where it does not go together with `conf/base`.
    """
    given = plain(parameters)
    types: dict[str, Any] = {
        "cleaning": Cleaning, "exclude_seen": ExcludeSeen, "splitting": Splitting, "stratification": Stratification,
    }  # fmt: skip
    sections: dict[str, Any] = {name: section.model_validate(given[name]) for name, section in types.items()}
    sections |= {"backbone_training": choice.training, "plugin_training": choice.plugins}
    known = ", ".join(f"{name} {number}" for name, number in {**versions(), "optuna": version("optuna")}.items())
    head = f"""\
# Written by `kedro run --pipeline=tuning`; the next one replaces it: keep a copy under another name.
# Use: kedro run --pipeline=full --env=tuned
# study:    {record.study} ({record.storage})
# chosen:   {choice.label}, {choice.why}
# data:     environment {env}, sha256 {record.data} (log and split)
# versions: {known}, git {git_state()}
# date:     {datetime.now(UTC):%Y-%m-%d %H:%M} UTC
"""
    return head + parameters_text(conf, env, sections, "tuning"), head + catalog_text(conf, env, given)
