// Figures are data in the page. So this script is the same in every page, and the policy can allow it by its hash.
const plots = document.querySelectorAll("[data-figure]");
for (const plot of plots) {
  const {data, layout} = JSON.parse(plot.dataset.figure);
  plot.style.height = `${layout.height}px`;  // when the window changes, plotly asks the element for its size
  Plotly.newPlot(plot, data, layout, {responsive: true, displayModeBar: false});
}
// In print, open collapsed sections and fit figures to the paper.
addEventListener("beforeprint", () => {
  document.querySelectorAll("details").forEach(d => d.open = true);
  plots.forEach(p => Plotly.relayout(p, {width: 680}));
});
addEventListener("afterprint", () => plots.forEach(p => Plotly.relayout(p, {width: null, autosize: true})));
