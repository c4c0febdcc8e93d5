// Figures are data in the page. So this script is the same in every page, and the policy can allow it by its hash.
const plots = document.querySelectorAll("[data-figure]");
const dark = matchMedia("(prefers-color-scheme: dark)");
const ofPage = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const paler = hex => "#" + [1, 3, 5].map(i => parseInt(hex.slice(i, i + 2), 16))
  .map(part => Math.round(part + 0.4 * (255 - part)).toString(16).padStart(2, "0")).join("");
// The figure for a dark page: its white is the page's colour, its text the page's ink, all other colours are paler.
function darkened(value, name = "") {
  if (Array.isArray(value)) return value.map(item => darkened(item, name));
  if (value && typeof value === "object")
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, darkened(item, key)]));
  if (typeof value !== "string" || !name.endsWith("color")) return value;
  if (value === "white") return ofPage("--page");
  if (value === "#22272e") return ofPage("--ink");
  return /^#[0-9a-f]{6}$/i.test(value) ? paler(value) : value;
}
// `width`: that of the paper; null: the page's own again.
function draw(inDark, width) {
  for (const plot of plots) {
    const figure = JSON.parse(plot.dataset.figure), {data, layout} = inDark ? darkened(figure) : figure;
    plot.style.height = `${layout.height}px`;  // when the window changes, plotly asks the element for its size
    Plotly.react(plot, data, layout, {responsive: true, displayModeBar: false});
    if (width !== undefined) Plotly.relayout(plot, width ? {width} : {width: null, autosize: true});
  }
}
draw(dark.matches);
dark.addEventListener("change", () => draw(dark.matches));
// Print opens collapsed sections, fits figures to the paper and is dark on white.
addEventListener("beforeprint", () => {
  document.querySelectorAll("details").forEach(d => d.open = true);
  draw(false, 680);
});
addEventListener("afterprint", () => draw(dark.matches, null));
