"""What `results.ipynb` shows: its tables, and its figures with a static picture beside the interactive one."""

from base64 import b64encode
from io import BytesIO
from pathlib import Path

import pandas as pd
from IPython.display import display
from matplotlib.figure import Figure as Picture
from matplotlib.ticker import PercentFormatter
from plotly.graph_objects import Figure

from pinet_kedro.figures.studies import gradient_noise_figure
from pinet_kedro.figures.style import GREY, MODEL_STYLE, finish

TABLES = Path(__file__).with_name("tables")
NOISE = ("movielens_100k", "amazon_beauty")
STUDIES = sorted(path.name.removesuffix("_tuning_finalists.parquet") for path in TABLES.glob("*_tuning_finalists.*"))
STRENGTHS = {
    "control": "control",
    "backdoor": "no consensus",
    "deconfounded_0": "λ = 0",
    "deconfounded": "λ = 0.1",
    "deconfounded_50": "λ = 0.5",
    "deconfounded_100": "λ = 1",
}
_GROUPS = ["all", "tail", "head"]
_SHIPPED = ["base", "base+plugins", "base+refit", "base+plugins+refit"]
_DASHES = {"dot": ":", "dash": "--"}
_MARKERS = {"circle": "o", "square": "s", "diamond": "D", "x": "x", "star": "*", "triangle-up": "^"}


def stored(name: str) -> pd.DataFrame:
    """A stored table."""
    return pd.read_parquet(TABLES / f"{name}.parquet")


def benchmarks(study: str = "") -> pd.DataFrame:
    """The rows of all benchmarks, of the study `paper_regime` or `consensus`, or of neither of these."""
    names = [path.stem for path in sorted(TABLES.glob("*_benchmark.parquet"))]
    rows = pd.concat([stored(n).assign(data=n.removesuffix("_benchmark")) for n in names], ignore_index=True)
    of_study = rows["data"].str.startswith(study or ("paper_regime", "consensus"))
    return rows[of_study if study else ~of_study]


def everything() -> pd.DataFrame:
    """The rows of all benchmarks and studies."""
    return pd.concat(map(benchmarks, ("", "paper_regime", "consensus")))


def under_the_same_plugins(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of other backbones than the base with plugins by stratum."""
    return rows[rows["model"].str.endswith("+plugins") & (rows["model"] != "base+plugins")]


def without_plugins(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of other backbones than the base, alone."""
    return rows[~rows["model"].str.contains("+", regex=False) & (rows["model"] != "base")]


def gains(rows: pd.DataFrame, prefix: str = "", metric: str = "ndcg_at_10") -> pd.DataFrame:
    """The metric for all users, and the gain of all, tail and head users with its interval."""
    rows = rows[(rows["metric"] == metric) & rows["group"].isin(_GROUPS)]
    rows, index = rows.assign(text=_intervals(rows, prefix)), ["data", "backbone", "model", "seeds"]
    value = rows[rows["group"] == "all"].set_index(index)["value"].map("{:.4f}".format).rename(metric)
    wide = rows.set_index([*index, "group"])["text"].unstack("group")[_GROUPS]
    return pd.concat([value, wide.loc[value.index]], axis=1)


def metrics(data: str, group: str) -> pd.DataFrame:
    """Every metric of the base, of plugins on it and of plugins without a backbone, for a group of users."""
    rows = stored(f"{data}_benchmark")
    rows = rows[rows["group"] == group]
    wide = rows.pivot(index="metric", columns="model", values="value").loc[rows["metric"].unique()]
    plugged = rows[rows["model"] == "base+plugins"].set_index("metric")
    shown = wide[["base", "base+plugins", "base+no_backbone"]].map("{:.4g}".format)
    return shown.assign(**{"base+plugins against the base": _intervals(plugged, keep_without_interval=True)})


def cut_offs() -> pd.DataFrame:
    """NDCG, HR and MRR at 5, 10 and 20 of base and PIN, before and after the refit."""
    rows = benchmarks().query("model in @_SHIPPED and group == 'all'")
    names = [f"{metric}_at_{k}" for metric in ("ndcg", "hr", "mrr") for k in (5, 10, 20)]
    rows = rows[rows["metric"].isin(names)]
    index = ["data", "backbone", "model", "metric"]
    return rows.set_index(index)["value"].unstack("metric")[names].map("{:.4f}".format)


def as_shipped() -> pd.DataFrame:
    """NDCG@10 of base and PIN after the refit, and the gain of PIN over the base, both after it."""
    return gains(benchmarks().query("model in ['base+refit', 'base+plugins+refit']"))


def improved(rows: pd.DataFrame) -> pd.DataFrame | str:
    """Lower ends of the intervals of what is improved over the base under the same plugins."""
    return _or_nothing(_improved(rows))


def decision() -> pd.DataFrame | str:
    """What is improved over the base under the same plugins, and on how many data sets."""
    won = _improved(under_the_same_plugins(everything())).reset_index()
    return _or_nothing(won.assign(data_sets=won.groupby("model")["data"].transform("nunique")))


def noise() -> pd.DataFrame:
    """Noise scales of the strata, and the cosine of a step's and of the stratum's gradient with the true one."""
    rows = pd.concat([stored(f"{d}_gradient_noise").query("part == 'all'").assign(data=d) for d in NOISE])
    shown = rows.set_index(["data", "epoch", "label"])
    counts = shown[["noise_scale", "step_users", "users", "users_needed"]].map("{:,.0f}".format)
    return counts.join(shown[["step_cosine", "stratum_cosine"]].map("{:.2f}".format))


def true_cosines() -> pd.DataFrame:
    """True cosines between the gradients of strata, ± 1 standard error."""
    pairs = pd.concat([stored(f"{d}_gradient_noise_pairs").assign(data=d) for d in NOISE])
    pairs = pairs[pairs["part"].isin(["all", "body"]) & pairs["epoch"].isin([1, pairs["epoch"].max(), 30])]
    texts = [f"{c:+.2f} ± {e:.2f}" for c, e in zip(pairs["cosine"], pairs["cosine_error"], strict=True)]
    pairs = pairs.assign(true=texts, pair=pairs["stratum"].astype(str) + "–" + pairs["other"].astype(str))
    return pairs.set_index(["data", "part", "epoch", "pair"])["true"].unstack("pair")


def finalists() -> pd.DataFrame:
    """The finalists of the studies of tuning."""
    return pd.concat(map(_finalists, STUDIES))


def best_trials() -> pd.DataFrame:
    """The five best trials of each study."""
    return pd.concat(map(_best_trials, STUDIES))


def draw_noise() -> None:
    """Shows the noise scales of the strata, one figure a data set."""
    for name in NOISE:
        show(gradient_noise_figure(stored(f"{name}_gradient_noise")).update_layout(title_text=name))


def draw_strengths(rows: pd.DataFrame) -> None:
    """Shows head against tail users at each λ, under the same plugins."""
    figure = Figure()
    rows = rows[(rows["metric"] == "ndcg_at_10") & rows["group"].isin(["head", "tail"])]
    styles = list(MODEL_STYLE.values())
    for (data, backbone), some in rows.groupby(["data", "backbone"], sort=False):
        columns = ["same_plugins_gain", "same_plugins_low", "same_plugins_high"]
        wide = some.set_index(["model", "group"])[columns].unstack("group")
        named = [name for name in STRENGTHS if f"{name}+plugins" in wide.index]
        if len(named) < 2:
            continue
        wide = wide.loc[[f"{name}+plugins" for name in named]]
        color, symbol = styles[len(figure.data) % len(styles)]
        ends = {
            axis: {
                "array": wide["same_plugins_high"][group] - wide["same_plugins_gain"][group],
                "arrayminus": wide["same_plugins_gain"][group] - wide["same_plugins_low"][group],
                "thickness": 0.6,
            }
            for axis, group in (("error_x", "tail"), ("error_y", "head"))
        }
        figure.add_scatter(
            x=wide["same_plugins_gain"]["tail"], y=wide["same_plugins_gain"]["head"], mode="lines+markers+text",
            text=[STRENGTHS[name] for name in named], textposition="top center", name=f"{data}, {backbone}",
            line={"color": color}, marker={"symbol": symbol, "size": 8}, **ends,
        )  # fmt: skip
    figure.add_hline(y=0, line={"width": 1, "color": GREY}).add_vline(x=0, line={"width": 1, "color": GREY})
    figure.update_xaxes(title="gain of tail users", tickformat="+.0%")
    figure.update_yaxes(title="gain of head users", tickformat="+.0%")
    statement = "Head against tail users at each λ, under the same plugins"
    show(finish(figure, statement, "Up and to the right is better for both; a bar that crosses 0 shows nothing.", 560))


def show(figure: Figure) -> None:
    """Shows a figure of scatter traces: interactive where plotly is, and as a picture on GitHub and in nbconvert."""
    png = b64encode(_picture(figure)).decode()
    display({"application/vnd.plotly.v1+json": figure.to_plotly_json(), "image/png": png}, raw=True)


def _picture(figure: Figure) -> bytes:
    panels = len(list(figure.select_xaxes()))
    picture = Picture(figsize=(10, figure.layout.height / 100), layout="constrained")
    axes = picture.subplots(1, panels, sharey=True, squeeze=False)[0]
    for i, ax in enumerate(axes):
        end = str(i + 1) if i else ""
        x, y = figure.layout[f"xaxis{end}"], figure.layout[f"yaxis{end}"]
        ax.set(xlabel=x.title.text, ylabel=y.title.text, yscale="log" if y.type == "log" else "linear")
        ax.grid(alpha=0.3)
        ax.spines[["top", "right"]].set_visible(False)
        if x.type == "category":
            ax.tick_params(axis="x", labelrotation=25, labelsize=8)
        for side, axis in ((ax.xaxis, x), (ax.yaxis, y)):
            if (axis.tickformat or "").endswith("%"):
                side.set_major_formatter(PercentFormatter(1))
        for trace in figure.data:
            if (trace.xaxis or "x") == f"x{end}":
                _draw(ax, trace)
    titles = [text for text in figure.layout.annotations if text.xref == "paper"]
    for ax, title in zip(axes, titles, strict=False):
        ax.set_title(title.text, fontsize=10)
    for shape in figure.layout.shapes:
        (axes[0].axvline if shape.x0 == shape.x1 else axes[0].axhline)(0, color=GREY, linewidth=1)
    picture.suptitle(figure.layout.title.text.replace("<br>", "\n"), x=0.01, ha="left", fontsize=12)
    picture.legend(*axes[0].get_legend_handles_labels(), loc="outside lower left", ncols=3, fontsize=9, frameon=False)
    file = BytesIO()
    picture.savefig(file, format="png", dpi=80)
    return file.getvalue()


def _draw(ax, trace) -> None:
    x, y, errors = list(trace.x), list(trace.y), {}
    for name, error in (("xerr", trace.error_x), ("yerr", trace.error_y)):
        if error.array is not None:
            errors[name] = [list(error.array if error.arrayminus is None else error.arrayminus), list(error.array)]
    style = {"color": trace.line.color or trace.marker.color, "linestyle": _DASHES.get(trace.line.dash, "-")}
    marker = _MARKERS.get(trace.marker.symbol, "o") if "markers" in trace.mode else None
    ax.errorbar(x, y, **errors, **style, marker=marker, markersize=5, elinewidth=0.7, capsize=2, label=trace.name)
    for a, b, text in zip(x, y, trace.text if trace.text is not None else (), strict=False):
        ax.annotate(text, (a, b), xytext=(0, 5), textcoords="offset points", fontsize=8, ha="center")


def _intervals(rows: pd.DataFrame, prefix: str = "", keep_without_interval: bool = False) -> list[str]:
    shown = rows[[prefix + "gain", prefix + "low", prefix + "high"]].itertuples(index=False)
    bare = "{:+.1%}".format if keep_without_interval else (lambda _: "")
    return [
        f"{gain:+.1%} [{low:+.1%}, {high:+.1%}]" if pd.notna(low) else bare(gain) if pd.notna(gain) else ""
        for gain, low, high in shown
    ]


def _improved(rows: pd.DataFrame) -> pd.DataFrame:
    rows = rows[rows["metric"] == "ndcg_at_10"]
    low = rows.set_index(["data", "backbone", "model", "group"])["same_plugins_low"].unstack("group")
    return low[(low["tail"] > 0) & (low["head"] > -0.01)][["tail", "head"]]


def _or_nothing(table: pd.DataFrame) -> pd.DataFrame | str:
    return "improved over the base under the same plugins: nothing" if table.empty else table


def _finalists(data: str) -> pd.DataFrame:
    rows = stored(f"{data}_tuning_finalists")
    rows = rows[~rows["candidate"].str.startswith("base as")]
    shown = {"first": rows["first"].map("{:.4f}".format).where(rows["first"].notna(), "")}
    for kind in ("valid", "test", "pin"):
        found = zip(rows[kind], _intervals(rows, f"{kind}_"), strict=True)
        shown[kind] = [f"{value:.4f} {gain}".strip() for value, gain in found]
    table = pd.DataFrame(shown).rename(columns={"valid": "validation", "pin": "test, with plugins"})
    places = [[data] * len(rows), rows["candidate"], rows["group"]]
    return table.set_index(pd.MultiIndex.from_arrays(places, names=["data", "candidate", "group"]))


def _best_trials(data: str) -> pd.DataFrame:
    rows = stored(f"{data}_tuning_trials")
    rows = rows[rows["state"] == "complete"]
    relative = rows["head"] / rows["head"].iloc[0] + rows["tail"] / rows["tail"].iloc[0]
    best = rows.loc[relative.sort_values(ascending=False).index[:5]]
    values = [name for name in rows.columns if name.startswith("backbone_training.")]
    table = best[["number", "head", "tail", *values]].rename(columns=lambda n: n.removeprefix("backbone_training."))
    return table.assign(data=data).set_index(["data", "number"])
