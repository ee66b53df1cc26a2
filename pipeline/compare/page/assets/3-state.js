// What the reader has chosen, and who wants to know when it changes.

const FEW_GROUPS = 12;
const FIRST_SHOWN = 10;
const FEW_RUNS = 4; // more of them are unreadable without smoothing

const state = {
  baseline: DATA.baseline,
  axis: DATA.axis,
  seeds: "mean",
  smoothing: RUNS.length > FEW_RUNS ? 1 : 0, // percent of the axis
  clip: true,
  part: 1, // share of the axis that is shown, at its end
  zoom: null, // [from, to] on the axis, instead of a part
  shown: new Set(), // groups whose curves are switched on
  found: new Set(GROUPS), // groups that pass the filter
  marked: null, // the group pointed at
};

const listeners = { curves: [], shown: [], marked: [], baseline: [] };

function on(what, listener) {
  listeners[what].push(listener);
}

function change(what, values = {}) {
  Object.assign(state, values);
  for (const listener of listeners[what]) listener();
  if (what === "shown") change("curves");
}

function drawnGroups() {
  const drawn = GROUPS.filter((group) => state.shown.has(group) && state.found.has(group));
  return drawn.sort((a, b) => a.rank - b.rank);
}

// All where they are few; else the best ones, and the baseline to see them against.
function showFirst() {
  const most = GROUPS.length > FEW_GROUPS ? FIRST_SHOWN : FEW_GROUPS;
  const chosen = GROUPS.filter((group) => group.rank < most || group.index === state.baseline);
  change("shown", { shown: new Set(chosen) });
}

function toggle(group) {
  const shown = new Set(state.shown);
  if (!shown.delete(group)) shown.add(group);
  change("shown", { shown });
}

// Whatever stands for a group: pointing at it marks its curves, a click switches them.
function standsFor(group, button) {
  button.addEventListener("click", () => toggle(group));
  marksOnPointing(group, button);
  const update = () => button.setAttribute("aria-pressed", state.shown.has(group));
  on("shown", update);
  update();
}

function marksOnPointing(group, target) {
  for (const event of ["pointerenter", "focusin"]) {
    target.addEventListener(event, () => change("marked", { marked: group }));
  }
  for (const event of ["pointerleave", "focusout"]) {
    target.addEventListener(event, () => change("marked", { marked: null }));
  }
}
