// The table: sorting, single runs, the filter, and the baseline.

const table = document.getElementById("groups");
const heads = [...table.tHead.rows[1].cells];
const bodies = [...table.tBodies];

for (const body of bodies) {
  const group = GROUPS[Number(body.dataset.group)];
  body.searched = searchedText(body);
  addControls(body, group);
  marksOnPointing(group, body.rows[0]);
}
for (const head of heads) {
  head.querySelector("button").addEventListener("click", () => sortBy(head));
}
on("baseline", showBaseline);
document.getElementById("filter").addEventListener("input", applyFilter);
const unfold = document.getElementById("unfold");
unfold.hidden = GROUPS.every((group) => group.runs.length === 1);
unfold.addEventListener("click", (event) => {
  const isOpen = event.target.getAttribute("aria-pressed") !== "true";
  event.target.setAttribute("aria-pressed", isOpen);
  for (const body of bodies) if (body.rows.length > 2) fold(body, isOpen);
});
showBaseline();

function addControls(body, group) {
  const cell = body.rows[0].querySelector(".name");
  const line = element("div", { className: "cell" });
  const folder = element("button", { type: "button", className: "icon fold" });
  folder.setAttribute("aria-label", `single runs of ${group.label}`);
  if (group.runs.length === 1) folder.style.visibility = "hidden";
  folder.addEventListener("click", () => fold(body, !body.classList.contains("open")));
  const swatch = element("button", { type: "button", className: "swatch" }, swatchOf(group));
  swatch.setAttribute("aria-label", `curves of ${group.label}`);
  standsFor(group, swatch);
  const under = element("div", { className: "under" }, cell.querySelector(".quiet"));
  const text = element("div", {}, cell.querySelector(".label"), under);
  if (group.index in DATA.baselines) {
    const base = element("button", { type: "button", className: "base" });
    base.setAttribute("aria-label", `baseline: ${group.label}`);
    base.addEventListener("click", () => change("baseline", { baseline: group.index }));
    under.append(base);
  }
  line.append(folder, swatch, text);
  cell.replaceChildren(line);
  fold(body, false);
}

function fold(body, isOpen) {
  body.classList.toggle("open", isOpen);
  body.querySelector(".fold").setAttribute("aria-expanded", isOpen);
}

// ---- sorting

function sortBy(head) {
  const first = head.dataset.first;
  const other = first === "ascending" ? "descending" : "ascending";
  const order = head.getAttribute("aria-sort") === first ? other : first;
  for (const one of heads) one.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", order);
  sortRows();
}

function sortRows() {
  const place = heads.findIndex((head) => head.hasAttribute("aria-sort"));
  const sign = heads[place].getAttribute("aria-sort") === "ascending" ? 1 : -1;
  const keyed = bodies.map((body) => [sortKey(body.rows[0].cells[place]), body]);
  keyed.sort(([a, one], [b, other]) => compareKeys(a, b, sign) || groupOrder(one, other));
  table.append(...keyed.map(([, body]) => body));
}

function sortKey(cell) {
  if (cell.dataset.number !== undefined) {
    return cell.dataset.number === "" ? null : Number(cell.dataset.number);
  }
  const text = (cell.querySelector(".label") ?? cell).textContent.trim();
  if (text === "–" || text === "") return null;
  return Number.isNaN(Number(text)) ? text : Number(text);
}

// Numbers before texts; what is missing comes last in both orders.
function compareKeys(a, b, sign) {
  if (a === null || b === null) return (a === null) - (b === null);
  if (typeof a !== typeof b) return typeof a === "number" ? -1 : 1;
  if (typeof a === "number") return sign * (a - b);
  return sign * a.localeCompare(b, "en", { numeric: true });
}

function groupOrder(one, other) {
  return GROUPS[one.dataset.group].rank - GROUPS[other.dataset.group].rank;
}

// ---- filter

function searchedText(body) {
  const row = body.rows[0];
  const settings = heads.map((head, place) => {
    const cell = row.cells[place];
    return head.classList.contains("text")
      ? `${head.textContent}=${cell.title || cell.textContent}`
      : cell.textContent;
  });
  const delta = heads.findIndex((head) => head.classList.contains("delta"));
  settings.splice(delta, 1);
  const names = GROUPS[body.dataset.group].runs.map((run) => run.name);
  return [...settings, ...names].join(" ").toLowerCase();
}

function applyFilter(event) {
  const words = event.target.value.toLowerCase().split(/\s+/).filter(Boolean);
  const found = new Set();
  for (const body of bodies) {
    body.hidden = !words.every((word) => body.searched.includes(word));
    if (!body.hidden) found.add(GROUPS[body.dataset.group]);
  }
  const isAll = found.size === GROUPS.length;
  document.getElementById("shown").value = isAll ? "" : `${found.size} of ${GROUPS.length}`;
  change("shown", { found });
}

// ---- baseline

function showBaseline() {
  const differences = DATA.baselines[state.baseline];
  const numbers = differences.flatMap(([delta, , low, high]) => [delta, low, high]);
  const reach = Math.max(...numbers.map(Math.abs)) || 1;
  for (const body of bodies) {
    const index = Number(body.dataset.group);
    const isBaseline = index === state.baseline;
    if (isBaseline) body.setAttribute("aria-current", "true");
    else body.removeAttribute("aria-current");
    const base = body.querySelector(".base");
    if (base) {
      base.setAttribute("aria-pressed", isBaseline);
      base.textContent = isBaseline ? "baseline" : "as baseline";
    }
    showDifference(body.querySelector("td.delta"), differences[index], reach);
  }
  if (heads.find((head) => head.hasAttribute("aria-sort")).classList.contains("delta")) sortRows();
}

function showDifference(cell, [delta, p, low, high, place], reach) {
  const isSignificant = p !== null && p < DATA.level;
  cell.classList.toggle("better", isSignificant && delta > 0);
  cell.classList.toggle("worse", isSignificant && delta < 0);
  cell.dataset.number = delta ?? "";
  const words = DATA.words[place] + (p === null ? "" : `, ${chanceText(p)}`);
  const parts = [element("span", { className: "points" }, pointsText(delta))];
  if (delta !== null) parts.push(intervalOf(delta, low, high, reach));
  cell.replaceChildren(...parts, element("span", { className: "words" }, words));
  const interval = `95 % interval ${pointsText(low)} to ${pointsText(high)}`;
  cell.title = low === null ? "" : interval;
}

function intervalOf(delta, low, high, reach) {
  const x = (points) => (60 + (55 * points) / reach).toFixed(1);
  const drawing = svgElement("svg", {
    class: "interval",
    viewBox: "0 0 120 14",
    "aria-hidden": "true",
  });
  drawing.append(svgElement("line", { class: "zero", x1: 60, x2: 60, y1: 0, y2: 14 }));
  if (low !== null) {
    const d = `M${x(low)},4v6m0,-3H${x(high)}m0,-3v6`;
    drawing.append(svgElement("path", { d }));
  }
  drawing.append(svgElement("circle", { cx: x(delta), cy: 7, r: 3 }));
  return drawing;
}
