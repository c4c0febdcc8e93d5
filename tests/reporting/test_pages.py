"""No page obeys what a log or a parameter says: every page, made of markup, in a real browser."""

import json
import os
import shutil
from pathlib import Path

import optuna
import pandas as pd
import pytest
from plotly.graph_objects import Figure

from browser import NAMES, Browser, find_browser
from pinet_kedro.feedback.page import render_feedback
from pinet_kedro.feedback.report import FeedbackReport
from pinet_kedro.figures.studies import benchmark_forest_figure, benchmark_pareto_figure
from pinet_kedro.figures.style import finish
from pinet_kedro.figures.training import plugin_weights_figure
from pinet_kedro.figures.tuning import tuning_figures
from pinet_kedro.interactions.events import Columns, read_interactions
from pinet_kedro.printable import printable
from pinet_kedro.promotion.decision import Decision, Gate
from pinet_kedro.promotion.page import render_promotion
from pinet_kedro.reporting.page import render_figures
from pinet_kedro.reporting.report import render_report
from pinet_kedro.retraining.page import render_summary
from pinet_kedro.retraining.steps import RetrainingSummary
from pinet_kedro.studies.replay.next_period import NO_NEXT
from pinet_kedro.studies.replay.replay import NO_REFRESH, NO_TRAINING, Replay, render_replay
from pinet_kedro.studies.tuning.finalists import Choice
from pinet_kedro.studies.tuning.results import render_tuning
from pinet_kedro.studies.tuning.study import Record
from pinet_kedro.validation.gate import ExpectationGate, ValidationFailedError

SUITES = Path(__file__).parents[2] / "conf/base/expectations"
SUITE = "conf/base/expectations/raw_events.json"
# Its elements have a class that none of ours has.
MARKUP = (
    "<script class=foreign>alert('script')</script><img class=foreign src=x onerror=alert('handler')>"
    "<a class=foreign href=javascript:alert('link')>a</a><b class=foreign title=\"'\">bold</b>&lt;&#60;</style>\x1b[31m"
)
SLASH = "\N{DIVISION SLASH}"  # a file name cannot have the other one
IN_A_FILE_NAME = MARKUP.replace("/", SLASH)
IN_AN_ID = MARKUP.replace("\x1b", "")  # an id with a control character is refused
SHOWN = printable(MARKUP)
MADE = (
    "report", "figures", "promotion", "round", "replay", "tuning", "feedback", "docs/index", "docs/raw_events/index",
    f"{IN_A_FILE_NAME}.csv.report/raw_events/index",
)  # fmt: skip


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    program = find_browser()
    if program is None:
        assert "PINET_NEEDS_BROWSER" not in os.environ, f"none of {', '.join(NAMES)} is installed"
        pytest.skip(f"needs a browser: none of {', '.join(NAMES)} is installed")
    browser = Browser(program, tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """A folder with every page that the product makes, all of markup."""
    folder = tmp_path_factory.mktemp("pages")
    write_data_docs(folder)
    trial, figures = made_study()
    made = {
        "report": render_report(made_evaluation(), made_figures(), made_cleaning(), {MARKUP: {MARKUP: [MARKUP]}},
                                {"git": MARKUP}, [made_example()]),
        "figures": render_figures(MARKUP, made_figures()),
        "promotion": render_promotion(made_decision()),
        "round": render_summary(made_round()),
        "replay": render_replay(made_periods(), Replay(env=MARKUP, params=MARKUP)),
        "tuning": render_tuning(*trial, figures),
        "feedback": render_feedback(made_feedback()),
    }  # fmt: skip
    for name, page in made.items():
        (folder / f"{name}.html").write_text(page, encoding="utf-8")
    return folder


def write_data_docs(folder):
    """Data Docs of a log of which every event is there twice, alone and as a partition."""
    shutil.copytree(SUITES, folder / "conf/base/expectations")
    names = {"uid" + MARKUP: "u", "sku" + MARKUP: "i", "time" + MARKUP: 1_600_000_000}
    rows = [
        {column: f"{value}{n}{IN_AN_ID}" if isinstance(value, str) else value + n for column, value in names.items()}
        for n in range(60)
    ]
    path = folder / f"{IN_A_FILE_NAME}.csv"
    pd.DataFrame(rows * 2).to_csv(path, index=False)
    events = read_interactions(path, Columns(**dict(zip(("user", "item", "timestamp"), names, strict=True))))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for docs in ("docs", f"{path.name}.report"):
            with pytest.raises(ValidationFailedError, match="more than once"):
                ExpectationGate(SUITE, docs).validate(events)


def group():
    return {"users": 3, "challenger": 0.2, "reference": 0.1, "gain": {"relative": 0.1, "low": 0.05, "high": 0.15}}


def made_evaluation():
    values = {"users": 9, "ndcg_at_10": 0.1, "hr_at_10": 0.2, "mrr": 0.3, "auc": 0.4}
    groups = ("all", "head", "tail")
    return {
        "models": {model: dict.fromkeys(groups, values) for model in ("base", "pin")},
        "comparisons": {"pin_vs_base": {name: {"ndcg_at_10": group()["gain"]} for name in groups}},
        "protocol": {"head": MARKUP, "seed": MARKUP, MARKUP: MARKUP},
        "data": {"name": MARKUP, "events": 10, MARKUP: {MARKUP: MARKUP}},
        "versions": {MARKUP: MARKUP},
    }


def made_example():
    item = {"item": MARKUP, "title": MARKUP, "taken": True}
    return {
        "group": MARKUP, "user": MARKUP, "events": 9, "history": [item, item], "target": item,
        "ranks": {"base": 1.5, "pin": 2.0}, "rows": [{"base": item, "pin": item, "why": MARKUP}],
    }  # fmt: skip


def made_cleaning():
    return pd.DataFrame([{"rule": MARKUP, "why": MARKUP, "rows": 1, "users": 1, "items": 1}])


def made_figures():
    plugins = pd.DataFrame({"stratum": [1], "label": [MARKUP], "choice": ["own"], **{
        name: [0.5] for name in ("backbone", "memory", "factors", "popularity", "recency")}})  # fmt: skip
    bench = pd.DataFrame(
        [
            {"backbone": MARKUP, "model": MARKUP, "group": name, "metric": "ndcg_at_10", "value": 0.1, "gain": 0.1,
             "low": 0.0, "high": 0.2}
            for name in ("head", "tail")
        ]
    )  # fmt: skip
    plain = Figure().add_scatter(x=[MARKUP], y=[1], name=MARKUP, text=[MARKUP], mode="markers+text", showlegend=True)
    plain.add_annotation(text=MARKUP, x=0, y=1).update_xaxes(title=MARKUP)
    return {
        "plugin_weights_figure": plugin_weights_figure(plugins), "forest": benchmark_forest_figure(bench),
        "pareto": benchmark_pareto_figure(bench), MARKUP: finish(plain, MARKUP, MARKUP, height=400),
    }  # fmt: skip


def made_decision():
    gate = Gate(name=MARKUP, passed=False, measured=MARKUP, asked=MARKUP)
    fields = {
        "promoted": True, "model": MARKUP, "version": MARKUP, "against": MARKUP, "champion_before": MARKUP,
        "gates": [gate], "reasons": [MARKUP], "forced": MARKUP, "notes": [MARKUP],
        "groups": dict.fromkeys(("all", "head", "tail"), group()), "data": {"test_targets": 3, MARKUP: MARKUP},
        "date": MARKUP, "run_id": MARKUP,
    }  # fmt: skip
    return Decision.model_validate(fields)


def made_round():
    arrivals = [
        {"id": MARKUP, "accepted": True, "events": 3},
        {"id": MARKUP, "accepted": False, "report": MARKUP, "place": MARKUP},
    ]
    size = {"events": 3, "users": 2, "items": 3}
    drift = {
        "model": MARKUP, "missing": [MARKUP], "reference": size, "window": size, "groups": {"head": group()},
        "activeness": {"distance": 0.1, "quantiles": {MARKUP: [1, 2]}, "strata": {MARKUP: [0.1, 0.2]}},
    }  # fmt: skip
    shown = {
        "intake": {"arrivals": arrivals, "partitions": {MARKUP: "1"}},
        "drift": drift,
        "start": MARKUP,
        "epochs": 3,
    }
    return RetrainingSummary.model_validate({**shown, "events": 3, "promotion": made_decision(), "feedback": (MARKUP,)})


def made_feedback():
    """A log that others have written: split, arm and version are markup."""
    split = f"{MARKUP}=1:0.5,b=2:0.5"
    groups = {name: {"users": 3, "answers": 4, "hits": 1} for name in ("all", "tail", "head")}
    cells = [
        {"split": split, "arm": arm, "version": MARKUP, "first": 0, "last": 0, "groups": groups}
        for arm in (MARKUP, "b")
    ]
    gaps = {"all": {"difference": 0.1, "low": 0.05, "high": 0.2}, "tail": None, "head": None}
    difference = {"split": split, "arm": "b", "against": MARKUP, "groups": gaps}
    return FeedbackReport.model_validate({"hours": 24, "days": 28, "cells": cells, "differences": [difference]})


def made_periods():
    texts = {"champion", "start", "against", "model", "version", "outcome", "decision", "reasons"}
    row = {
        name: MARKUP if name.removeprefix("refresh_") in texts else 0.1
        for name in {**NO_REFRESH, **NO_TRAINING, **NO_NEXT}
    }
    row |= {"period": MARKUP, "events": 3, "seconds": 0.1}
    return pd.DataFrame([row])


def made_study():
    """Record, trials, finalists and choice of a study whose parameter and its values are markup, and its figures."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study()
    for number, value in enumerate((MARKUP, "b", MARKUP)):
        marks = {"head": 0.1 + number / 10, "tail": 0.1 + number / 20}
        distributions = {MARKUP: optuna.distributions.CategoricalDistribution([MARKUP, "b"])}
        study.add_trial(optuna.trial.create_trial(
            params={MARKUP: value}, distributions=distributions, value=marks["tail"], user_attrs=marks))  # fmt: skip
    record = Record(
        study=MARKUP, storage=MARKUP, objective="head_and_tail", joint=True, judged=MARKUP, data=MARKUP, epochs=1,
        full_epochs=2, states={"complete": 3, MARKUP: 1}, base={"head": 0.1, "tail": 0.1}, front=(2,),
        space={MARKUP: {"choices": [MARKUP, "b"]}},
    )  # fmt: skip
    trials = pd.DataFrame([{"number": 1, "state": MARKUP, "head": 0.1, "tail": 0.1, "epochs": 1, "front": True,
                            "reason": MARKUP, MARKUP: MARKUP}])  # fmt: skip
    numbers = {
        f"{kind}{end}": 0.1
        for kind in ("short", "valid", "test", "pin")
        for end in ("", "_deviation", "_gain", "_low", "_high")
    }
    finalists = pd.DataFrame(
        [{"candidate": MARKUP, "group": name, "seeds": 1, "first": 0.1, **numbers} for name in ("all", "head", "tail")]
    )
    choice = Choice(label=MARKUP, trial=1, why=MARKUP, values={MARKUP: MARKUP}, training={}, plugins={})
    names = ("history", "importances", "slices", "front")
    return (record, trials, finalists, choice), dict(zip(names, tuning_figures(study, record.base), strict=True))


def foreign_elements(browser):
    return browser.evaluate("document.querySelectorAll('.foreign, svg a').length")


@pytest.mark.parametrize("name", MADE)
def test_a_page_made_of_markup_shows_it_and_obeys_nothing(browser, pages, name):
    page = pages / f"{name}.html"
    seen = browser.open(page)
    assert seen.dialogs == []
    assert seen.refused == []  # of ours the policy stops nothing
    assert foreign_elements(browser) == 0
    assert browser.evaluate("document.querySelectorAll('script[src], link, iframe, object, embed, base').length") == 0
    assert {address for address in seen.asked if not address.startswith("data:")} == {page.as_uri()}
    assert SHOWN in seen.text.replace(SLASH, "/")
    assert "\x1b" not in seen.text


@pytest.mark.parametrize(("name", "figures"), [("report", 4), ("figures", 4), ("tuning", 4)])
def test_figures_are_drawn_under_the_policy_with_names_as_text(browser, pages, name, figures):
    browser.open(pages / f"{name}.html")
    assert browser.evaluate("document.querySelectorAll('.js-plotly-plot .main-svg:first-of-type').length") == figures
    words = browser.evaluate("[...document.querySelectorAll('svg text')].map(text => text.textContent).join('\\n')")
    assert SHOWN.split("(")[0] in words
    assert "&lt;b" not in words


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_figures_and_page_fit_a_window_that_becomes_narrow(browser, pages, scheme):
    browser.prefer(scheme)
    try:
        for name in ("figures", "tuning"):
            browser.resize(1400)
            browser.open(pages / f"{name}.html")
            heights = "[...document.querySelectorAll('.plot')].map(plot => plot.clientHeight)"
            before = browser.evaluate(heights)
            browser.resize(390)
            assert browser.evaluate(heights) == before
            assert min(before) > 150
            assert browser.evaluate("document.documentElement.scrollWidth") <= 390
    finally:
        browser.prefer("light")
        browser.resize(1400)


def test_figures_have_the_colours_of_the_page_and_change_with_it(browser, pages):
    behind = (
        "[...new Set([document.body, ...document.querySelectorAll('.main-svg:first-of-type')]"
        ".map(e => getComputedStyle(e).backgroundColor))]"
    )
    colours = "[...document.querySelectorAll('.legendpoints path')].map(e => getComputedStyle(e).fill).join()"
    browser.open(pages / "report.html")
    light, drawn = browser.evaluate(behind), browser.evaluate(colours)
    browser.prefer("dark")
    try:
        browser.evaluate("new Promise(done => setTimeout(done, 500))")  # the page hears of it with its next frame
        dark, darkened = browser.evaluate(behind), browser.evaluate(colours)
        browser.evaluate("dispatchEvent(new Event('beforeprint'))")
        printed = browser.evaluate(colours)
        narrow = browser.evaluate("document.querySelector('.main-svg').clientWidth")
        browser.evaluate("dispatchEvent(new Event('afterprint'))")
        browser.evaluate("new Promise(done => setTimeout(done, 500))")
        wide = browser.evaluate("document.querySelector('.main-svg').clientWidth")
        whole = browser.evaluate("document.querySelector('.plot').clientWidth")
        after = browser.evaluate(colours)
    finally:
        browser.prefer("light")
    assert light == ["rgb(255, 255, 255)"]
    assert len(dark) == 1
    assert dark != light
    assert darkened != drawn
    assert (printed, after) == (drawn, darkened)
    assert (narrow, wide) == (680, whole)


# Texts whose contrast with what is behind them is below 4.5 (WCAG 2, level AA), each with its contrast.
FAINT = """
const numbers = colour => (colour.match(/[\\d.]+/g) || [0, 0, 0, 0]).map(Number);
const light = colour => numbers(colour).slice(0, 3).map(v => v / 255)
  .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
  .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
const behind = element => {
  for (; element; element = element.parentElement) {
    const colour = getComputedStyle(element).backgroundColor;
    if ((numbers(colour)[3] ?? 1) > 0) return colour;
  }
  return "rgb(255, 255, 255)";
};
document.querySelectorAll("details").forEach(d => d.open = true);
[...document.querySelectorAll("body *")]
  .filter(e => [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()) && e.getClientRects().length)
  .map(e => {
    const style = getComputedStyle(e), own = e instanceof SVGElement ? style.fill : style.color;
    const ends = [own, behind(e)].map(light);
    return [e.textContent.slice(0, 40), (Math.max(...ends) + 0.05) / (Math.min(...ends) + 0.05)];
  })
  .filter(([, contrast]) => contrast < 4.5)
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_can_be_read_in_light_and_in_dark(browser, pages, scheme):
    browser.prefer(scheme)
    try:
        faint = {}
        for name in MADE:
            browser.open(pages / f"{name}.html")
            faint[name] = browser.evaluate(FAINT)
        behind = browser.evaluate("getComputedStyle(document.body).backgroundColor")
    finally:
        browser.prefer("light")
    assert (behind == "rgb(255, 255, 255)") is (scheme == "light")
    assert not any(faint.values()), faint


@pytest.mark.slow  # its pages are those of the tests above
def test_every_page_that_the_product_makes_is_opened(pages):
    assert {str(path.relative_to(pages).with_suffix("")) for path in pages.rglob("*.html")} >= set(MADE)
    templates = Path(__file__).parents[2].joinpath("src/pinet_kedro").rglob("*.html.j2")
    # What others extend, import and include, and pages without a word of the data.
    shells = {"page", "macros", "examples", "start_page", "docs"}
    opened = {
        "report",
        "figures",
        "promotion",
        "retraining",
        "replay",
        "tuning",
        "feedback",
        "data_docs",
        "data_docs_suite",
    }
    assert {path.name.removesuffix(".html.j2") for path in templates} - shells == opened


def test_markup_that_is_not_escaped_is_seen(browser, tmp_path):
    page = tmp_path / "page.html"
    page.write_text(f"<!DOCTYPE html><meta charset=utf-8><body>{MARKUP}", encoding="utf-8")
    assert set(browser.open(page).dialogs) == {"script", "handler"}
    assert foreign_elements(browser) == 4


def test_the_policy_stops_what_an_author_forgets_to_escape(browser, pages, tmp_path):
    page = tmp_path / "page.html"
    shell = (pages / "promotion.html").read_text(encoding="utf-8")
    page.write_text(shell.replace("<main>", f"<main>{MARKUP}"), encoding="utf-8")
    seen = browser.open(page)
    browser.evaluate("document.querySelector('a.foreign').click()")
    assert seen.dialogs == []
    assert len(seen.refused) >= 2


@pytest.mark.slow  # its pages are those of the tests above
def test_a_policy_allows_the_page_s_own_scripts_and_no_others(pages):
    with_figures, without = ((pages / f"{name}.html").read_text("utf-8") for name in ("figures", "promotion"))
    assert with_figures.count("&#39;sha256-") == with_figures.count("<script>") == 2
    assert "script-src &#39;none&#39;" in without
    assert "<script" not in without
    assert "unsafe-eval" not in with_figures


def test_the_result_of_a_suite_is_stored_as_it_is(pages):
    stored = json.loads((pages / "docs/raw_events/result.json").read_text("utf-8"))
    assert not stored["success"]
    assert IN_AN_ID in json.dumps(stored["tables"], ensure_ascii=False).replace('\\"', '"')
