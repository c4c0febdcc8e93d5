"""The report claims what the intervals allow, shows every number, and loads nothing from the network."""

import copy
from html import unescape
from html.parser import HTMLParser

import pandas as pd
import pytest
from plotly.graph_objects import Figure
from plotly.offline import get_plotlyjs_version

from pinet_kedro.figures.results import gains_figure, quintiles_figure
from pinet_kedro.figures.training import plugin_weights_figure
from pinet_kedro.reporting.page import PLOTLY, without_home
from pinet_kedro.reporting.report import render_report
from pinet_kedro.reporting.statements import (
    aggregation_effect,
    base_gap,
    disagreement,
    improved,
    narrowing,
    one_for_all,
    summary_lines,
    verdict,
)
from pinet_kedro.reporting.text import MODEL_LABELS
from pinet_kedro.tracking.config import Tracking
from pinet_kedro.tracking.run_info import RunInfo

UNDEFINED = {"relative": None, "low": None, "high": None}
CLEANING = pd.DataFrame(
    [
        {"rule": "exact duplicates", "why": "logged twice", "rows": 17, "users": 0, "items": 0},
        {"rule": "k-core", "why": "teach nothing", "rows": 1713, "users": 3, "items": 333},
    ]
)
CONFIGURATION = {
    "backbone_training": {"backbone": {"name": "sasrec", "width": 64}, "device": None},
    "tracking": {"uri": "postgresql://me:hunter2@db.example/ml"},
}


def set_gain(evaluation, pair, group, low, high):
    entry = {"relative": (low + high) / 2, "low": low, "high": high}
    evaluation["comparisons"][pair][group]["ndcg_at_10"] = entry
    return evaluation


@pytest.fixture
def evaluation():
    groups = ("all", "head", "tail", "q1", "q2", "q3", "q4", "q5")
    models = {
        model: {
            g: {
                "users": 2000 + j,
                "ndcg_at_10": 0.0512 + i / 100 + j / 1000,
                "hr_at_10": 0.1013 + i / 100 + j / 1000,
                "mrr": 0.0714 + i / 100 + j / 1000,
                "auc": 0.8015 + i / 100 + j / 1000,
            }
            for j, g in enumerate(groups)
        }
        for i, model in enumerate(MODEL_LABELS)
    }
    pairs = [f"{model}_vs_base" for model in MODEL_LABELS if model != "base"]
    pairs += ["pin_vs_base_plugins", "base_plugins_vs_plugins_alone"]
    comparisons = {
        pair: {
            g: {"ndcg_at_10": {"relative": 0.1 + i / 100, "low": 0.05 + i / 100, "high": 0.15 + i / 100}}
            for i, g in enumerate(groups[:3])
        }
        for pair in pairs
    }
    return {
        "models": models,
        "comparisons": comparisons,
        "protocol": {"split": "leave_one_out", "seed": 1, "head": "170+ events"},
        "data": {
            "name": "MovieLens-100k",
            "sha256": "4edb74e2",
            "users": 943,
            "events": 98270,
            "dropped_rows": {"a": 1},
        },
        "versions": {"python": "3.11.2", "torch": "2.13.0"},
    }


BEYOND = {
    "coverage_at_10": (0.55, 0.5, None),
    "gini_at_10": (0.75, 0.8, None),
    "novelty_at_10": (9.43, 9.19, 0.02),
    "popularity_at_10": (180.6, 210.9, 3.0),
    "long_tail_share_at_10": (0.143, 0.113, 0.01),
    "ndcg_at_10_popular_items": (0.1143, 0.1604, 0.02),
    "hr_at_10_popular_items": (0.2217, 0.2834, 0.02),
    "ndcg_at_10_long_tail_items": (0.0583, 0.0855, 0.02),
    "hr_at_10_long_tail_items": (0.1221, 0.1374, 0.02),
    "category_diversity_at_10": (0.78, 0.75, 0.01),
    "ndcg_at_10_cold_items": (0.01, 0.02, None),
    "hr_at_10_cold_items": (0.02, 0.03, None),
    "targets_cold_items": (7, 7, 0),
}


@pytest.fixture
def with_beyond(evaluation):
    """With cut-offs and measures beyond accuracy, as evaluations have them; `evaluation` is of an earlier version."""
    for model in evaluation["models"].values():
        for i, values in enumerate(model.values()):
            values |= {f"{m}_at_{k}": 0.3 + i / 100 + k / 1000 for m in ("ndcg", "hr", "mrr") for k in (5, 20)}
            values["mrr_at_10"] = 0.2 + i / 100
    for group in ("all", "head", "tail"):
        for name, (base, pin, half) in BEYOND.items():
            for model, groups in evaluation["models"].items():
                groups[group][name] = pin if model == "pin" else base
            ends = (None, None) if half is None else (pin - base - half, pin - base + half)
            entry = dict(zip(("difference", "low", "high"), (pin - base, *ends), strict=True))
            evaluation["comparisons"]["pin_vs_base"][group][name] = entry
    told = {"items": 1234, "most_training_events": 56, "share_of_training_events": 0.1987}
    cold = {"items": 432, "most_training_events": 4, "share_of_training_events": 0.001}
    evaluation["data"] |= {"items": 1888, "long_tail_items": told, "cold_items": cold}
    return evaluation


class Page(HTMLParser):
    """Tags of a page, what it would load, and its text outside of scripts and styles."""

    VOID = ("meta", "br", "link", "img", "input", "hr")

    def __init__(self, html):
        super().__init__()
        self.open, self.tags, self.loads, self.links, self.words = [], [], [], [], []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        attributes = dict(attrs)
        self.loads += [attributes[name] for name in ("src", "srcset", "data", "action") if name in attributes]
        if "href" in attributes:
            (self.links if tag == "a" else self.loads).append(attributes["href"])
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not {"script", "style"} & set(self.open):
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


def page_source(evaluation, figures):
    return render_report(evaluation, figures, CLEANING, CONFIGURATION, {})


def page(evaluation, figures=None, run=None, cleaning=CLEANING, configuration=CONFIGURATION):
    return Page(render_report(evaluation, figures or {}, cleaning, configuration, run or {}))


@pytest.mark.parametrize(
    ("tail_low", "head_low", "expected"),
    [
        (0.001, 0.001, True),
        (0.001, -0.009, True),
        (0.001, -0.01, False),  # a loss of 1 % is not ruled out
        (0.0, 0.001, False),  # no gain is not ruled out
        (-0.02, -0.02, False),
    ],
)
def test_improved_needs_the_tail_above_zero_and_the_head_above_minus_one_percent(
    evaluation, tail_low, head_low, expected
):
    set_gain(evaluation, "pin_vs_base", "tail", tail_low, 0.2)
    set_gain(evaluation, "pin_vs_base", "head", head_low, 0.2)
    assert improved(evaluation) is expected
    assert verdict(evaluation).startswith("Ship PIN: ") is expected
    assert verdict(evaluation).startswith("Do not ship PIN: ") is not expected


@pytest.mark.parametrize(
    ("tail", "head", "words"),
    [
        ((0.1, 0.2), (0.1, 0.2), "head users gain as well"),
        ((0.1, 0.2), (-0.005, 0.2), "A gain of head users is not shown"),
        ((0.1, 0.2), (-0.02, 0.2), "but a loss of head users of 1 % or more is not ruled out"),
        ((0.1, 0.2), (-0.2, -0.1), "but head users lose"),
        ((-0.1, 0.2), (0.1, 0.2), "a gain of tail users is not shown, +5.0 % [−10.0, +20.0], but head users gain"),
        ((-0.2, -0.1), (-0.2, -0.1), "tail users lose −15.0 % [−20.0, −10.0], and head users lose"),
        ((-0.1, 0.2), (-0.005, 0.01), "a loss of head users of 1 % or more is ruled out"),
    ],
)
def test_the_verdict_says_who_gains_who_loses_and_what_is_not_shown(evaluation, tail, head, words):
    set_gain(evaluation, "pin_vs_base", "tail", *tail)
    set_gain(evaluation, "pin_vs_base", "head", *head)
    assert words in verdict(evaluation)


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (-0.01, 0.02, "no difference can be shown"),
        (0.01, 0.02, "a gain is shown"),
        (-0.02, -0.01, "a loss is shown"),
    ],
)
def test_the_effect_of_the_aggregation_is_claimed_only_where_the_interval_leaves_zero_out(evaluation, low, high, words):
    set_gain(evaluation, "pin_vs_base_plugins", "all", low, high)
    assert words in aggregation_effect(evaluation, ["all"])


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        ({"backbone": "joint", "reason": "worse", "gains": {"all": (-0.01, 0.01), "tail": (-0.04, -0.02)}},
         "PIN stands on the joint backbone: on validation targets the aggregation is worse for tail users −3.0 %"),
        ({"backbone": "deconfounded", "reason": "not_worse", "gains": {"all": (-0.01, 0.03)}},
         "by aggregation: on validation targets it is not shown to be worse (NDCG@10 +1.0 %"),
        ({"backbone": "deconfounded", "reason": "configured", "gains": {}}, "as registration.backbone says"),
        ({"backbone": "deconfounded", "reason": "not_measured", "gains": {}}, "too few to compare it"),
    ],
)  # fmt: skip
def test_the_page_and_the_console_say_why_pin_stands_on_its_backbone(evaluation, choice, words):
    gains = {g: {"relative": (low + high) / 2, "low": low, "high": high} for g, (low, high) in choice["gains"].items()}
    evaluation["backbone_choice"] = choice | {"gains": gains}
    assert words in page(evaluation).text
    assert any(words in line for line in summary_lines(evaluation))


def test_where_pin_stands_on_the_joint_backbone_the_aggregation_is_measured_against_pin(evaluation):
    del evaluation["models"]["base_plugins"]
    evaluation["comparisons"] = {p: v for p, v in evaluation["comparisons"].items() if "base_plugins" not in p}
    evaluation["comparisons"]["backbone_plugins_vs_pin"] = evaluation["comparisons"]["pin_vs_base"]
    set_gain(evaluation, "backbone_plugins_vs_pin", "all", -0.03, -0.01)
    assert "all users −2.0 % [−3.0, −1.0], a loss is shown" in aggregation_effect(evaluation, ["all"])
    assert "Training by aggregation instead of jointly, with plugins" in page(evaluation).text


def test_a_gain_of_too_few_hits_is_no_reason_to_ship(evaluation):
    gain = evaluation["comparisons"]["pin_vs_base"]["head"]["ndcg_at_10"]
    gain |= {"relative": 0.5, "low": None, "high": None}
    assert verdict(evaluation) == "Do not ship PIN: too few head users have a hit for an interval of their gain."


def test_undefined_gains_are_reported_as_not_measured(evaluation):
    for groups in evaluation["comparisons"].values():
        for group in groups.values():
            group["ndcg_at_10"] = UNDEFINED
    text = page(evaluation, {"gains_figure": gains_figure(evaluation)}).text
    assert "the base has no hit among tail users" in text
    assert not improved(evaluation)
    assert aggregation_effect(evaluation, ["all"]).endswith("changes NDCG@10: all users not measured.")
    assert any("not measured" in line for line in summary_lines(evaluation))


def test_the_gap_names_the_group_that_is_served_better(evaluation):
    base = evaluation["models"]["base"]
    base["head"]["ndcg_at_10"], base["tail"]["ndcg_at_10"] = 0.08, 0.05
    assert base_gap(evaluation)[0].startswith("The base serves head users better than tail users")
    assert "+60.0 % for head users" in base_gap(evaluation)[0]
    base["head"]["ndcg_at_10"], base["tail"]["ndcg_at_10"] = 0.05, 0.08
    assert base_gap(evaluation)[0].startswith("The base serves tail users better than head users")
    assert "the long tail is not the worse served" in base_gap(evaluation)[0]
    base["head"]["ndcg_at_10"] = 0.08
    assert "alike" in base_gap(evaluation)[0]


def test_the_gap_in_hits_has_newcombes_interval(evaluation):
    # Newcombe (1998), table II, example (a): 56/70 against 48/80 has the interval [0.0524, 0.3339].
    base = evaluation["models"]["base"]
    base["tail"].update(users=70, hr_at_10=56 / 70)
    base["head"].update(users=80, hr_at_10=48 / 80)
    assert "+20.0 percentage points, 95 % interval [+5.2, +33.4]: more than chance" in base_gap(evaluation)[1]


def test_a_gap_that_few_users_cannot_show_may_be_chance(evaluation):
    base = evaluation["models"]["base"]
    base["tail"].update(users=70, hr_at_10=0.11)
    base["head"].update(users=20, hr_at_10=0.10)
    assert "can be chance" in base_gap(evaluation)[1]


@pytest.mark.parametrize("group", ["head", "tail"])
def test_a_group_without_test_users_leaves_the_gap_unmeasured(evaluation, group):
    for groups in evaluation["models"].values():
        del groups[group]
    for pair in evaluation["comparisons"].values():
        pair[group]["ndcg_at_10"] = UNDEFINED
    assert "cannot be measured" in page(evaluation).text


def test_the_page_holds_every_number_of_every_model_and_group(evaluation):
    text = page(evaluation).text
    for groups in evaluation["models"].values():
        for values in groups.values():
            assert f"{values['users']:,} users" in text
            for metric in ("ndcg_at_10", "hr_at_10", "mrr", "auc"):
                assert f"{values[metric]:.4f}" in text
    for expected in ("+10.0 % [+5.0, +15.0]", "+11.0 % [+6.0, +16.0]", "1,713", "333", "1,730 rows (1.7 %)", "2.13.0"):
        assert expected in text.replace("\N{NO-BREAK SPACE}", " ")


def test_the_page_shows_cut_offs_and_measures_beyond_accuracy(with_beyond):
    text = page(with_beyond).text.replace("\N{NO-BREAK SPACE}", " ")
    for told in ("At 5, 10 and 20", "NDCG@5", "HR@20", "MRR@10", "0.3050", "0.3200", "0.2000"):
        assert told in text
    assert (
        "PIN recommends more popular items than the base: an item in PIN's first ten has 210.9 training events" in text
    )
    assert "against 180.6 (+30.3 [+27.3, +33.3]), and 11.3 % of them are long-tail items, against 14.3 %" in text
    assert "PIN is better: NDCG@10 0.0855, against 0.0583 (+0.0272 [+0.0072, +0.0472])" in text
    assert "−3.0 [−4.0, −2.0]" in text  # percentage points
    assert "−5.0" in text  # of the catalogue; no interval
    assert "1,234 of 1,888, each with at most 56" in text
    assert "Difference of categories within a list, 0 to 1 0.780 0.780 0.750 −0.030 [−0.040, −0.020]" in text
    assert "NDCG@10, next item cold (7 users) 0.0100 0.0100 0.0200 +0.0100 HR@10" in text  # too few for an interval
    assert "a cold one" not in text
    assert "432 of 1,888" in text
    assert text.count("Gini index of recommendations over items") == 3


def test_the_verdict_names_what_the_lists_lose_in_variety_and_only_what_is_shown(with_beyond):
    of_all = with_beyond["comparisons"]["pin_vs_base"]["all"]
    told = (
        "At a price: PIN shows fewer long-tail items, 11.3 % of its lists instead of 14.3 % (−3.0 [−4.0, −2.0] "
        "percentage points). Its lists mix fewer categories: two of their items differ in 75.0 % of their categories "
        "instead of 78.0 % (−3.0 [−4.0, −2.0] percentage points)."
    )
    assert " ".join(narrowing(with_beyond)) == told
    assert f"{verdict(with_beyond)} {told}" in summary_lines(with_beyond)
    text = page(with_beyond).text.replace("\N{NO-BREAK SPACE}", " ")
    assert text.index(told) < text.index("Next: kedro promote")
    of_all["long_tail_share_at_10"] = {"difference": -0.01, "low": -0.03, "high": 0.01}
    assert [sentence[:34] for sentence in narrowing(with_beyond)] == ["At a price: PIN’s lists mix fewer "]
    of_all["category_diversity_at_10"] = {"difference": 0.02, "low": 0.01, "high": 0.03}
    assert narrowing(with_beyond) == []
    assert "At a price" not in page(with_beyond).text


def test_the_top_says_that_pin_is_the_base_with_one_plugin_for_all_where_it_is(evaluation):
    assert one_for_all(evaluation) is None
    assert "one plugin for all users: no stratum" not in page(evaluation).text
    evaluation["plugins"] = ["shared", "own"]
    assert one_for_all(evaluation) is None
    evaluation["plugins"] = ["shared", "shared"]
    told = one_for_all(evaluation)
    assert told.startswith("PIN is here the base with one plugin for all users")
    aggregated = {"backbone": "deconfounded", "reason": "configured", "gains": {}}
    assert "the backbone trained by aggregation with one" in one_for_all(evaluation | {"backbone_choice": aggregated})
    assert (text := page(evaluation).text).index(told) < text.index("PIN is the Personalizing")
    assert told in summary_lines(evaluation)


@pytest.mark.parametrize(
    ("low", "high", "told"),
    [(-9.0, -1.0, "PIN recommends less popular items than the base: "), (-1.0, 9.0, "not shown to recommend items of")],
)
def test_what_is_said_of_popularity_follows_from_the_interval(with_beyond, low, high, told):
    entry = {"difference": (low + high) / 2, "low": low, "high": high}
    with_beyond["comparisons"]["pin_vs_base"]["all"]["popularity_at_10"] = entry
    assert told in page(with_beyond).text


def test_a_measure_that_nobody_has_is_a_dash(with_beyond):
    """No target of these data is a long-tail item."""
    for name in ("ndcg_at_10_long_tail_items", "hr_at_10_long_tail_items"):
        for group in ("all", "head", "tail"):
            for groups in with_beyond["models"].values():
                groups[group][name] = None
            entry = {"difference": None, "low": None, "high": None}
            with_beyond["comparisons"]["pin_vs_base"][group][name] = entry
    text = page(with_beyond).text
    assert "For users whose next item is a long-tail one" not in text
    assert "NDCG@10, next item in the long tail – – – –" in text


def test_without_categories_and_cold_targets_neither_is_claimed(with_beyond):
    for group in ("all", "head", "tail"):
        for groups in with_beyond["models"].values():
            del groups[group]["category_diversity_at_10"]
            groups[group] |= {"targets_cold_items": 0, "ndcg_at_10_cold_items": None, "hr_at_10_cold_items": None}
        entry = {"difference": None, "low": None, "high": None}
        found = with_beyond["comparisons"]["pin_vs_base"][group]
        del found["category_diversity_at_10"]
        found |= dict.fromkeys(("ndcg_at_10_cold_items", "hr_at_10_cold_items"), entry)
    text = page(with_beyond).text
    assert "Difference of categories" not in text
    assert "NDCG@10, next item cold (0 users) – – – –" in text


def test_cold_targets_that_are_enough_have_a_sentence(with_beyond):
    entry = {"difference": 0.01, "low": -0.02, "high": 0.03}
    with_beyond["comparisons"]["pin_vs_base"]["all"]["ndcg_at_10_cold_items"] = entry
    assert "a cold one, with fewer than five training events, PIN is not shown to differ" in page(with_beyond).text


def test_an_evaluation_of_an_earlier_version_has_no_such_part(evaluation):
    assert "Beyond accuracy" not in page(evaluation).text


def test_the_page_begins_with_the_verdict_then_who_gains_then_the_gap(evaluation):
    text = page(evaluation).text
    order = ["Ship PIN: tail users gain", "PIN is the Personalizing", "Who gains, who loses", "How the base serves"]
    assert sorted(order, key=text.index) == order
    set_gain(evaluation, "pin_vs_base", "head", -0.05, 0.2)
    assert text.count("kedro promote") == 1
    assert "Do not ship PIN: tail users gain" in (refused := page(evaluation).text)
    assert "keep the present champion" in refused
    assert "kedro promote" not in refused


def test_the_head_of_the_page_says_which_run_on_which_data(evaluation):
    evaluation["data"] |= {"items": 1349, "oldest_event": 874724710 * 10**9, "newest_event": {"all": 893286638 * 10**9}}
    facts = RunInfo("full", "local", f"{'0123abcd' * 5}+changes", Tracking()).facts | {"MLflow run": "8f14"}
    text = page(evaluation, run=facts).text
    assert f"date: {facts['date']} · data: MovieLens-100k (4edb74e2), 943 users, 1,349 items, 98,270 events" in text
    assert "period: 1997-09-20 to 1998-04-22 · backbone: sasrec · seed: 1 · version: " in text
    assert "git: 0123abcd+changes · MLflow run: 8f14" in text
    assert "oldest event 1997-09-20" in text.replace("_", " ")
    assert "items 1,349 " in text
    assert "874724710" not in text


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (-0.01, 0.02, "One plugin for all users is not shown to be worse here: plugins by stratum add +0.5 %"),
        (-0.01, 0.008, "One plugin for all users is as good here: plugins by stratum add −0.1 %"),
        (0.01, 0.02, "Plugins by stratum add to one plugin for all users +1.5 %"),
        (-0.02, -0.01, "One plugin for all users is better here: plugins by stratum add −1.5 %"),
    ],
)
def test_what_is_said_of_plugins_by_stratum_follows_from_the_interval(evaluation, low, high, words):
    pairs = evaluation["comparisons"]
    pairs["base_plugins_vs_base_shared_plugin"] = copy.deepcopy(pairs["pin_vs_base"])
    set_gain(evaluation, "base_plugins_vs_base_shared_plugin", "all", low, high)
    text = page(evaluation).text.replace("\N{NO-BREAK SPACE}", " ")
    assert words in text
    added = text.partition("The trained backbone adds to the plugins +10.0 % [")[2]
    assert added.partition("]")[2].startswith(", on the joint backbone. ")


def test_the_page_is_well_formed_and_loads_nothing(evaluation):
    figures = {"gains_figure": gains_figure(evaluation), "quintiles_figure": quintiles_figure(evaluation)}
    parsed = page(evaluation, figures)
    assert parsed.open == []
    assert parsed.loads == []
    assert parsed.links == ["index.html", "data_docs/index.html"]
    assert parsed.tags.count("figure") == 2


def test_the_script_is_inlined_once_and_the_page_is_small(evaluation):
    figures = {"gains": gains_figure(evaluation), "quintiles": quintiles_figure(evaluation)}
    html = render_report(evaluation, figures, CLEANING, {}, {})
    assert html.count("plotly.js (basic - minified) v") == 1
    assert len(html.encode()) < 1_500_000  # figures, examples and tables of MovieLens-100k have 0.15 MB


def test_the_script_is_that_of_the_library_that_makes_the_figures():
    head = PLOTLY.read_text(encoding="utf-8")[:100]
    assert f"plotly.js (basic - minified) v{get_plotlyjs_version()}" in head, "update it as CONTRIBUTING.md says"
    assert "Permission is hereby granted" in PLOTLY.with_name("plotly-basic.LICENSE").read_text(encoding="utf-8")


def test_a_figure_has_a_text_for_who_cannot_see_it(evaluation):
    figure = gains_figure(evaluation)
    html = page_source(evaluation, {"gains": figure})
    words = f"{figure.layout.meta['statement']}. {figure.layout.meta['reading']}"
    assert f'role="img" aria-label="{words}"' in unescape(html)
    assert figure.layout.meta["reading"].replace(" %", "\N{NO-BREAK SPACE}%") in unescape(html)


def test_every_table_and_figure_can_be_scrolled_with_the_keyboard(evaluation):
    html = page_source(evaluation, {"gains": gains_figure(evaluation)})
    assert html.count('<div class="scroll"') == html.count('<div class="scroll" tabindex="0"') > 4


def test_a_page_for_a_place_without_a_start_page_does_not_link_to_it(evaluation):
    parsed = Page(without_home(page_source(evaluation, {})))
    assert parsed.links == ["data_docs/index.html"]
    assert parsed.open == []
    assert parsed.text == Page(page_source(evaluation, {})).text.replace("All pages ", "", 1)


@pytest.mark.parametrize(("before", "after"), [(0.05, -0.05), (-0.05, 0.05)])
def test_the_top_says_when_the_reading_as_shipped_disagrees(evaluation, before, after):
    evaluation["as_shipped"] = copy.deepcopy(evaluation)
    evaluation["as_shipped"]["comparisons"] |= dict.fromkeys(
        ("refit_pin_vs_pin", "refit_base_vs_base"), evaluation["comparisons"]["pin_vs_base"]
    )
    assert disagreement(evaluation) is None
    assert "disagree" not in page(evaluation).text
    set_gain(evaluation, "pin_vs_base", "head", before, 0.3)
    set_gain(evaluation["as_shipped"], "pin_vs_base", "head", after, 0.3)
    told = disagreement(evaluation)
    other = "Ship PIN" if after > 0 else "Do not ship PIN"
    assert told.startswith(f"After the final training, the same rule says “{other}”: tail users gain")
    text = page(evaluation).text
    assert text.index("The two readings disagree.") < text.index("PIN is the Personalizing")
    assert told in summary_lines(evaluation)


def test_what_the_data_say_is_escaped(evaluation):
    attack = "<script>alert('x')</script>"
    evaluation["data"]["name"] = attack
    plugins = pd.DataFrame({"stratum": [1], "label": [attack], "choice": ["own"]})
    cleaning = CLEANING.assign(why=attack)
    figures = {"plugin_weights": plugin_weights_figure(plugins), "extra": Figure().update_layout(title_text=attack)}
    html = render_report(evaluation, figures, cleaning, {attack: {attack: attack}}, {"git": attack})
    assert attack not in html
    assert attack in Page(html).text


def example(title):
    taken, other = ({"item": f"i{n}", "title": title, "taken": n == 1} for n in (1, 2))
    return {
        "group": "Head", "user": "u7", "events": 1234, "history": [other], "target": {**taken, "taken": False},
        "ranks": {"base": 1012.0, "pin": 2.5},
        "rows": [{"base": other, "pin": taken, "why": "popular +0.5"}, {"base": other, "pin": None, "why": None}],
    }  # fmt: skip


def test_users_are_shown_with_titles_beside_ids_and_the_held_out_item_marked(evaluation):
    html = render_report(evaluation, {}, CLEANING, {}, {}, [example("<i>Nikita</i>")])
    text = Page(html).text
    assert "<i>Nikita" not in html
    assert "Head: user u7, 1,234 training events" in text
    assert "Taken next: <i>Nikita</i> i1 – rank 1,012 by the base, 2.5 by PIN" in text
    assert text.count("✓ taken next") == 1
    assert "1 <i>Nikita</i> i2 <i>Nikita</i> i1 ✓ taken next popular +0.5" in text
    section = html[html.index('<section class="examples">') :]
    assert (
        section[: section.index("</section>")].count("<th")
        == section[: section.index("</section>")].count("scope=") + 1
    )
    assert "Newest first: i2" in Page(render_report(evaluation, {}, CLEANING, {}, {}, [example(None)])).text


def test_without_examples_there_is_no_such_section(evaluation):
    assert "Six users" not in page(evaluation).text


def test_a_figure_that_the_page_does_not_know_is_shown_with_its_title(evaluation):
    front = Figure().update_layout(title_text="Pareto front")
    assert "Pareto front" not in page(evaluation, {"front_figure": front}).text  # there is nothing to see
    assert "Pareto front" in page(evaluation, {"front_figure": front.add_scatter(x=[1], y=[2])}).text


def test_without_an_aggregation_the_page_says_so_and_compares_what_is_left(evaluation):
    for name in ("backbone", "base_plugins", "backbone_plugins"):
        del evaluation["models"][name]
    evaluation["comparisons"] = {
        pair: values
        for pair, values in evaluation["comparisons"].items()
        if not {"backbone", "base_plugins", "backbone_plugins"} & set(pair.split("_vs_"))
    }
    text = page(evaluation).text
    assert "No aggregation of gradients is configured" in text
    assert "by aggregation" not in text
    assert "PIN against the base" in text
    assert not any("ggregation" in line for line in summary_lines(evaluation))


def test_figures_are_not_changed_by_the_page(evaluation):
    figure = gains_figure(evaluation)
    before = copy.deepcopy(figure.to_dict())
    page(evaluation, {"gains": figure})
    assert figure.to_dict() == before


def test_credentials_of_an_address_are_not_shown(evaluation):
    html = render_report(evaluation, {}, CLEANING, CONFIGURATION, {"tracking": "https://user:secret@host/"})
    assert "hunter2" not in html
    assert "user:secret" not in html
    assert "postgresql://…@db.example/ml" in html


def test_fewer_than_five_quintiles_and_a_bare_run_make_a_page(evaluation):
    for groups in evaluation["models"].values():
        for quintile in ("q3", "q4", "q5"):
            del groups[quintile]
    evaluation["data"] = {}
    del evaluation["comparisons"]["pin_vs_base_plugins"]
    text = page(evaluation, {"quintiles": quintiles_figure(evaluation)}, configuration={}, cleaning=CLEANING[:0]).text
    assert "Q2: fifth" in text
    assert "Q3: fifth" not in text


def test_the_page_is_the_same_twice(evaluation):
    figures = {"gains": gains_figure(evaluation)}
    first, second = (render_report(evaluation, figures, CLEANING, CONFIGURATION, {}) for _ in range(2))
    assert first == second


def test_the_summary_is_a_few_lines_with_base_gains_and_verdict(evaluation):
    lines = summary_lines(evaluation)
    assert 3 <= len(lines) <= 6
    assert lines[0] == "Base: test NDCG@10 head 0.0522, tail 0.0532; below, 95 % intervals are in brackets"
    assert lines[1] == "PIN, tail users: NDCG@10 0.0532 → 0.1132, +12.0 % [+7.0, +17.0]"
    assert verdict(evaluation) in lines
