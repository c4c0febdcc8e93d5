"""Figures show the numbers that they are given, and say in their title what is seen."""

import numpy as np
import optuna
import pandas as pd
import pytest

from pinet_kedro.activeness import Stratification, fit_strata
from pinet_kedro.figures.activeness import long_tail_figure
from pinet_kedro.figures.results import gains_figure, quintiles_figure
from pinet_kedro.figures.studies import gradient_noise_figure
from pinet_kedro.figures.style import shade
from pinet_kedro.figures.training import learning_curves_figure, plugin_weights_figure, stratum_weights_figure
from pinet_kedro.figures.tuning import tuning_figures
from pinet_kedro.reporting.text import MODEL_LABELS

ACTIVENESS = np.random.default_rng(0).pareto(1.2, 500).astype(int) + 3
WEIGHTS = {"weight_stratum_1": 0.1, "weight_stratum_2": 0.2, "weight_stratum_3": 0.7}
STRATA = fit_strata(ACTIVENESS, Stratification())


def traces(figure):
    return {trace.name: trace for trace in figure.data}


@pytest.fixture
def evaluation():
    groups = ("all", "head", "tail", "q1", "q2", "q3")
    metrics = {
        model: {
            g: {"users": 10 + j, "ndcg_at_10": 0.1 + i / 100 + j / 1000, "hr_at_10": 0.2, "mrr": 0.1, "auc": 0.9}
            for j, g in enumerate(groups)
        }
        for i, model in enumerate(MODEL_LABELS)
    }
    gains = {
        f"{model}_vs_base": {
            g: {
                "ndcg_at_10": {
                    "relative": i / 10 + j / 50,
                    "low": i / 10 + j / 50 - 0.03,
                    "high": i / 10 + j / 50 + 0.07,
                }
            }
            for j, g in enumerate(groups[:3])
        }
        for i, model in enumerate(MODEL_LABELS)
        if model != "base"
    }
    return {"models": metrics, "comparisons": gains}


@pytest.fixture
def curves():
    rows = [
        {
            "model": model, "epoch": epoch, "loss": 5 - epoch / 10,
            "valid_ndcg_at_10_head": epoch / 100 if epoch % 2 == 0 else np.nan,
            "valid_ndcg_at_10_tail": epoch / 50 if epoch % 2 == 0 else np.nan,
            **(WEIGHTS if model == "backbone" else {}),
        }
        for model in ("base", "backbone")
        for epoch in range(1, 5)
    ]  # fmt: skip
    return pd.DataFrame(rows)


@pytest.fixture
def plugins():
    return pd.DataFrame(
        {
            "stratum": [1, 2, 3], "label": ["0–4 events", "5–9 events", "10+ events"],
            "choice": ["none", "shared", "own"],
            "backbone": [1.0, 0.8, 0.7], "memory": [0.0, 1.2, 1.5], "popularity": [0.0, 0.1, -0.2],
            "recency": [0.0, 0.3, 0.4], "factors": [0.0, 0.9, 1.1],
        }
    )  # fmt: skip


def test_the_lorenz_curve_runs_from_nothing_to_everything_below_the_diagonal():
    curve = long_tail_figure(ACTIVENESS, STRATA).data[0]
    assert (curve.x[0], curve.y[0]) == (0, 0)
    assert (curve.x[-1], curve.y[-1]) == pytest.approx((1, 1))
    assert (np.diff(curve.y) >= 0).all()
    assert (np.asarray(curve.y) <= np.asarray(curve.x) + 1e-12).all()


def test_the_marked_head_share_is_that_of_the_reporting_strata():
    head = STRATA.head_tail.assign(ACTIVENESS) == 1
    figure = long_tail_figure(ACTIVENESS, STRATA)
    marked = figure.data[2]
    assert marked.x[0] == pytest.approx(1 - head.mean())
    assert marked.y[0] == pytest.approx(1 - ACTIVENESS[head].sum() / ACTIVENESS.sum())
    assert f"{head.mean() * 100:.0f} %" in figure.layout.meta["statement"]
    assert f"{ACTIVENESS[head].sum() / ACTIVENESS.sum() * 100:.0f} %" in figure.layout.meta["statement"]


@pytest.mark.parametrize(
    "activeness", [ACTIVENESS, np.r_[0, 0, ACTIVENESS], np.array([0, 1, 1, 2]), np.array([7, 7, 9])]
)
def test_the_histogram_counts_every_user_once(activeness):
    strata = fit_strata(activeness, Stratification())
    bars = [t for t in long_tail_figure(activeness, strata).data if t.type == "bar"]
    assert sum(sum(bar.y) for bar in bars) == len(activeness)
    assert sum(bars[1].y) == (strata.head_tail.assign(activeness) == 1).sum()


def test_every_threshold_of_the_training_strata_is_drawn():
    lines = long_tail_figure(ACTIVENESS, STRATA).data[-1]
    assert sorted({x for x in lines.x if x is not None}) == pytest.approx(np.log10(STRATA.training.thresholds))


def test_learning_curves_are_the_table_without_the_epochs_that_were_not_validated(curves):
    drawn = traces(learning_curves_figure(curves))
    assert list(drawn["Base (joint training)"].y) == pytest.approx([4.9, 4.8, 4.7, 4.6])
    assert list(drawn["Aggregation alone, tail users"].x) == [2, 4]
    assert list(drawn["Aggregation alone, tail users"].y) == pytest.approx([0.04, 0.08])


def test_learning_curves_do_without_a_group_that_has_no_users(curves):
    drawn = traces(learning_curves_figure(curves.drop(columns="valid_ndcg_at_10_head")))
    assert not any("head" in name for name in drawn)


def test_weights_of_strata_are_those_of_the_backbone_beside_the_uniform_one(curves):
    figure = stratum_weights_figure(curves)
    drawn = traces(figure)
    assert list(drawn["stratum 1, least active"].y) == pytest.approx([0.1] * 4)
    assert list(drawn["stratum 3, most active"].y) == pytest.approx([0.7] * 4)
    assert list(drawn["uniform, 33 %"].y) == pytest.approx([1 / 3, 1 / 3])
    assert "least active stratum 10 %, most active 70 %" in figure.layout.meta["statement"]


def test_the_title_says_that_curves_have_no_weights(curves):
    figure = stratum_weights_figure(curves[curves["model"] == "base"].dropna(axis=1, how="all"))
    assert len(figure.data) == 0
    assert figure.layout.meta["statement"] == "No weights of strata were recorded"


def test_rule_without_weights_leaves_both_figures_of_the_curves_whole(curves):
    bare = curves.drop(columns=[c for c in curves if c.startswith("weight_stratum_")])
    assert stratum_weights_figure(bare).layout.meta["statement"] == "No weights of strata were recorded"
    assert len(learning_curves_figure(bare).data) == len(learning_curves_figure(curves).data)


def test_the_forest_plot_holds_every_gain_and_the_ends_of_its_interval(evaluation):
    tail = traces(gains_figure(evaluation))["Tail users"]
    expected = [evaluation["comparisons"][f"{m}_vs_base"]["tail"]["ndcg_at_10"] for m in MODEL_LABELS if m != "base"]
    assert list(tail.x) == pytest.approx([e["relative"] for e in expected])
    assert np.add(tail.x, tail.error_x.array) == pytest.approx([e["high"] for e in expected])
    assert np.subtract(tail.x, tail.error_x.arrayminus) == pytest.approx([e["low"] for e in expected])


def test_an_undefined_gain_is_named_and_not_drawn(evaluation):
    evaluation["comparisons"]["pin_vs_base"]["head"]["ndcg_at_10"] = {"relative": None, "low": None, "high": None}
    figure = gains_figure(evaluation)
    assert len(traces(figure)["Head users"].x) == len(MODEL_LABELS) - 2
    assert "head users not measured" in figure.layout.meta["statement"]
    assert [a.text for a in figure.layout.annotations] == ["Head users: not measured"]


def test_only_the_quintiles_that_exist_are_drawn(evaluation):
    figure = quintiles_figure(evaluation)
    assert figure.layout.xaxis.ticktext == ("Q1", "Q2", "Q3")
    assert {tuple(row[0] for row in trace.customdata) for trace in figure.data} == {("Q1", "Q2", "Q3")}
    assert all(np.array_equal(np.round(trace.x), [0, 1, 2]) for trace in figure.data)
    pin = evaluation["models"]["pin"]
    assert list(traces(figure)[MODEL_LABELS["pin"]].y) == [pin[q]["ndcg_at_10"] for q in ("q1", "q2", "q3")]
    assert "3 of 3" in figure.layout.meta["statement"]


def test_a_model_with_the_values_of_another_does_not_hide_it(evaluation):
    evaluation["models"]["base_shared_plugin"] = evaluation["models"]["pin"]
    drawn = traces(quintiles_figure(evaluation))
    one, other = (drawn[MODEL_LABELS[name]] for name in ("base_shared_plugin", "pin"))
    assert list(one.y) == list(other.y)
    assert np.abs(np.subtract(one.x, other.x)).min() > 0.1
    assert one.line.dash != other.line.dash
    assert one.marker.symbol != other.marker.symbol


def test_every_weight_of_every_plugin_is_drawn(plugins):
    figure = plugin_weights_figure(plugins)
    drawn = sorted(x for bar in figure.data for x in bar.x)
    assert drawn == sorted(plugins[["backbone", "memory", "factors", "popularity", "recency"]].to_numpy().ravel())
    assert figure.layout.meta["statement"] == "Plugins chosen by the 3 strata: 1 none, 1 shared, 1 own"


def test_plugins_without_named_weights_show_what_every_stratum_took(plugins):
    (choices,) = plugin_weights_figure(plugins[["stratum", "label", "choice"]]).data
    assert list(choices.x) == ["no plugin", "shared plugin", "own plugin"]
    assert list(choices.y) == ["1 · 0–4 events", "2 · 5–9 events", "3 · 10+ events"]


@pytest.fixture
def figures(curves, evaluation, plugins):
    return [
        long_tail_figure(ACTIVENESS, STRATA), learning_curves_figure(curves), stratum_weights_figure(curves),
        gains_figure(evaluation), quintiles_figure(evaluation), plugin_weights_figure(plugins),
        plugin_weights_figure(plugins[["stratum", "label", "choice"]]),
    ]  # fmt: skip


def test_all_figures_share_one_template(figures):
    assert len({str(figure.layout.template) for figure in figures}) == 1


def test_every_figure_says_what_it_shows_and_how_to_read_it_and_names_its_axes(figures):
    for figure in figures:
        assert figure.layout.meta["statement"] == figure.layout.title.text.replace("<br>", " ")
        assert max(map(len, figure.layout.title.text.split("<br>"))) <= 120
        assert figure.layout.meta["reading"].endswith(".")
        assert all(axis.title.text for axis in figure.select_xaxes()) or figure.data[0].mode == "markers"
        first = next(iter(figure.select_yaxes()))
        assert first.title.text or first.ticktext  # ticks that are names of models need no title


def luminance(colour):
    """Relative luminance of '#rrggbb' (WCAG 2.2)."""
    values = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in values]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


def contrast(colour, background):
    low, high = sorted(map(luminance, (colour, background)))
    return (high + 0.05) / (low + 0.05)


def colours(value, key=""):
    """Every colour of a figure as JSON, but those of its template."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield from () if name == "template" else colours(item, name)
    elif isinstance(value, list):
        for item in value:
            yield from colours(item, key)
    elif isinstance(value, str) and value.startswith("#"):
        yield value


def test_every_colour_can_be_seen_on_light_and_on_dark(figures):
    """Kedro-viz replaces the colours of backgrounds, axes and texts by those of its theme, and no others."""
    shades = [shade(i, 5) for i in range(5)]
    drawn = {colour for figure in figures for colour in colours(figure.to_plotly_json())} | set(shades)
    assert len(drawn) > 10
    for colour in drawn:
        assert contrast(colour, "#ffffff") >= 4.5, colour
        assert contrast(colour, "#000000") >= 4.5, colour
        assert min(contrast(colour, "#eeeeee"), contrast(colour, "#111111")) >= 3.9, colour
    assert len(set(shades)) == 5


def test_noise_figure_leaves_out_an_infinite_scale_and_says_what_a_step_sees():
    rows = [
        {
            "part": part, "epoch": epoch, "label": label, "noise_scale": scale, "noise_scale_error": 1.0,
            "step_users": 13, "users": 188, "step_cosine": 0.1 * epoch, "stratum_cosine": 0.5,
        }
        for part in ("all", "body") for epoch in (1, 3) for label, scale in (("0–9", 50.0), ("10+", np.inf))
    ]  # fmt: skip
    figure = gradient_noise_figure(pd.DataFrame(rows))
    assert figure.layout.meta["statement"].startswith(
        "After epoch 3 a step's gradient of a stratum has the cosine 0.30"
    )
    assert len(figure.data) == 2 * (2 + 2)
    scales = np.asarray(figure.data[0].y)
    assert scales[0] == 50
    assert np.isnan(scales[1])
    assert figure.layout.yaxis.type == "log"


def test_importances_of_tail_users_have_the_names_of_their_own_parameters():
    """Rate matters for head users alone, width for tail users alone."""
    study = optuna.create_study(directions=["maximize"] * 2)
    space = dict.fromkeys(("a.rate", "a.width"), optuna.distributions.FloatDistribution(0, 1))
    for rate, width in np.random.default_rng(0).random((20, 2)).tolist():
        values = dict(zip(space, (rate, width), strict=True))
        ndcg = {"head": rate, "tail": width}
        study.add_trial(
            optuna.create_trial(params=values, distributions=space, values=list(ndcg.values()), user_attrs=ndcg)
        )
    _, importances, _, _ = tuning_figures(study, {"head": 0.5, "tail": 0.5})
    shown = {bars.name: dict(zip(bars.y, bars.x, strict=True)) for bars in importances.data}
    most = {users: max(bars, key=bars.get).partition("<br>")[2] for users, bars in shown.items()}
    assert most == {"Head users": "rate", "Tail users": "width"}
