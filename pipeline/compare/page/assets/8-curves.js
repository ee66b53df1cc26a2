// The charts of all metrics, their tools and their legend.

const charts = METRICS.map((_, metric) => new Chart(metric));
const grid = document.getElementById("charts");
grid.append(...charts.map((chart) => chart.figure));

const seen = new IntersectionObserver(
  (entries) => {
    for (const { target, isIntersecting } of entries) {
      const chart = charts.find((one) => one.figure === target);
      chart.isSeen = isIntersecting;
      if (isIntersecting && chart.isStale) chart.draw();
    }
  },
  { rootMargin: "200px" },
);
const resized = new ResizeObserver((entries) => {
  for (const { target } of entries) charts.find((one) => one.svg === target).refresh();
});
for (const chart of charts) {
  seen.observe(chart.figure);
  resized.observe(chart.svg);
}
// On paper all of them are seen.
addEventListener("beforeprint", () => charts.forEach((chart) => chart.draw()));

let waiting = null;
on("curves", () => {
  // Once per frame, however many changes there are.
  waiting ??= requestAnimationFrame(() => {
    waiting = null;
    for (const chart of charts) chart.refresh();
    sayMissing();
    partChoice.value = state.zoom ? "zoom" : String(state.part);
  });
});
on("marked", () => charts.forEach((chart) => chart.mark()));

function sayMissing() {
  const runs = drawnGroups().flatMap((group) => group.runs);
  const without = runs.filter((run) => run.curves.size && !hasAxis(run));
  const names = without.slice(0, 3).map((run) => run.name).join(", ");
  const more = without.length > 3 ? ` and ${without.length - 3} more` : "";
  const text = `Not drawn, their journals have no ${DATA.axes[state.axis]}: ${names}${more}.`;
  document.getElementById("missing").textContent = without.length ? text : "";
}

// ---- tools

const axisChoice = document.getElementById("axis");
for (const [axis, label] of Object.entries(DATA.axes)) {
  axisChoice.append(element("option", { value: axis }, label));
}
axisChoice.value = state.axis;
axisChoice.addEventListener("change", () => change("curves", { axis: axisChoice.value, zoom: null }));

const seedChoice = document.getElementById("seeds");
seedChoice.addEventListener("change", () => change("curves", { seeds: seedChoice.value }));
seedChoice.parentNode.hidden = GROUPS.every((group) => group.counted.length < 2);

const smoothing = document.getElementById("smoothing");
function smoothingText() {
  document.getElementById("smoothing-value").value =
    state.smoothing ? `${state.smoothing} %` : "off";
}
smoothing.value = state.smoothing;
smoothing.addEventListener("input", () => {
  change("curves", { smoothing: Number(smoothing.value) });
  smoothingText();
});
smoothingText();

const clip = document.getElementById("clip");
clip.addEventListener("change", () => change("curves", { clip: clip.checked }));
const partChoice = document.getElementById("part");
partChoice.addEventListener("change", () => {
  change("curves", { part: Number(partChoice.value), zoom: null });
});

// ---- legend

const legend = document.getElementById("legend");
const sets = element("span", { className: "sets" });
const choices = [["All", () => new Set(GROUPS)], ["None", () => new Set()]];
for (const [name, chosen] of choices) {
  const button = element("button", { type: "button" }, name);
  button.addEventListener("click", () => change("shown", { shown: chosen() }));
  sets.append(button);
}
if (GROUPS.length > FEW_GROUPS) {
  const button = element("button", { type: "button" }, `Best ${FIRST_SHOWN}`);
  button.addEventListener("click", showFirst);
  sets.prepend(button);
}
legend.append(sets);
for (const group of [...GROUPS].sort((a, b) => a.rank - b.rank)) {
  const key = element("button", { type: "button", className: "key", title: group.label });
  key.append(swatchOf(group), element("span", {}, group.label));
  standsFor(group, key);
  on("shown", () => (key.hidden = !state.found.has(group)));
  legend.append(key);
}
showFirst();
