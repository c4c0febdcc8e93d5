// Figures stand in the page as data: this script is the same in every page, so that its hash can be allowed.
const plots = document.querySelectorAll("[data-figure]");
for (const plot of plots) {
  const {data, layout} = JSON.parse(plot.dataset.figure);
  Plotly.newPlot(plot, data, layout, {responsive: true, displayModeBar: false});
}
// Print shows what is collapsed on screen, and figures as wide as the paper.
addEventListener("beforeprint", () => {
  document.querySelectorAll("details").forEach(d => d.open = true);
  plots.forEach(p => Plotly.relayout(p, {width: 680}));
});
addEventListener("afterprint", () => plots.forEach(p => Plotly.relayout(p, {width: null, autosize: true})));
