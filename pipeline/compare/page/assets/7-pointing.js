// Pointing at a chart: by mouse, finger or arrow keys; dragging zooms.

const MOST_VALUES = 14;
const SPOKEN_VALUES = 5;
const KEY_SHARE = 0.02; // of the axis, per key

const bubble = document.getElementById("values");
const spoken = document.getElementById("spoken");

function pointing(chart) {
  const { svg } = chart;
  let start = null; // of a drag, in pixels
  let place = null; // of the keys, on the axis
  const at = (event) => {
    const box = svg.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  svg.addEventListener("pointerdown", (event) => {
    if (event.pointerType === "mouse") start = at(event)[0];
  });
  svg.addEventListener("pointermove", (event) => {
    if (chart.isStale) return;
    const [x, y] = at(event);
    if (start !== null && Math.abs(x - start) > DRAG_PX) {
      svg.setPointerCapture(event.pointerId);
      hideValues();
      showDrag(chart, start, x);
    } else {
      showValues(chart, chart.valueAt(x), y, event);
    }
  });
  svg.addEventListener("pointerup", (event) => {
    const [x] = at(event);
    if (start !== null && Math.abs(x - start) > DRAG_PX) {
      const ends = [start, x].map((end) => chart.valueAt(within(chart, end)));
      change("curves", { zoom: ends.sort((a, b) => a - b) });
    }
    start = null;
  });
  svg.addEventListener("pointerleave", hideValues);
  svg.addEventListener("blur", hideValues);
  svg.addEventListener("dblclick", () => change("curves", { part: 1, zoom: null }));
  svg.addEventListener("keydown", (event) => {
    if (event.key === "Escape") hideValues();
    const next = keyed(chart, event.key, place);
    if (next === null) return;
    event.preventDefault();
    place = next;
    const box = svg.getBoundingClientRect();
    const where = { clientX: box.left + chart.x(place), clientY: box.top + MARGIN.top };
    speak(chart, showValues(chart, place, chart.height / 2, where));
  });
}

// Where a key leads from a place on the axis; null for a key that leads nowhere.
function keyed({ range: [from, to] }, key, place) {
  const step = KEY_SHARE * (to - from);
  const here = Math.max(from, Math.min(to, place ?? (from + to) / 2));
  const places = {
    ArrowLeft: Math.max(from, here - step),
    ArrowRight: Math.min(to, here + step),
    Home: from,
    End: to,
  };
  return places[key] ?? null;
}

function within(chart, x) {
  return Math.max(MARGIN.left, Math.min(chart.right, x));
}

function showDrag(chart, start, x) {
  const ends = [start, x].map((end) => within(chart, end)).sort((a, b) => a - b);
  const size = { x: ends[0], width: ends[1] - ends[0], y: MARGIN.top };
  const zoom = svgElement("rect", { class: "zoom", ...size, height: chart.bottom - MARGIN.top });
  chart.svg.querySelector(".over").replaceChildren(zoom);
}

// Values of all lines at a place, beside the pointer; `y`: its height in the chart.
function showValues(chart, place, y, { clientX, clientY }) {
  const values = chart.valuesAt(place);
  if (!values.length || place < chart.range[0] || place > chart.range[1]) {
    hideValues();
    return null;
  }
  const farness = (one) => Math.abs(chart.y(one.value) - y) || 0;
  const nearest = values.reduce((a, b) => (farness(b) < farness(a) ? b : a));
  for (const other of charts) {
    if (other !== chart) other.cross(nearest.x);
  }
  chart.cross(nearest.x, values);
  fillBubble(values, nearest, farness);
  placeBubble(clientX, clientY);
  return { values, nearest };
}

function fillBubble(values, nearest, farness) {
  const sorted = [...values].sort((a, b) => farness(a) - farness(b));
  const chosen = new Set(sorted.slice(0, MOST_VALUES));
  const rows = values.filter((one) => chosen.has(one)).map((one) => {
    const row = element("tr", { className: one === nearest ? "near" : "" });
    row.append(
      element("td", {}, swatchOf(one.line.group)),
      element("td", {}, one.line.name),
      element("td", {}, numberText(one.value)),
    );
    return row;
  });
  const axis = state.axis === "time" ? "h at work" : DATA.axes[state.axis];
  const head = element("div", { className: "quiet" }, `${axis} ${numberText(nearest.x, 6)}`);
  const more = values.length - chosen.size;
  bubble.replaceChildren(head, element("table", {}, ...rows));
  if (more) bubble.append(element("div", { className: "quiet" }, `and ${more} farther away`));
  bubble.hidden = false;
}

// Beside the pointer, on the side with more room, wholly on the screen.
function placeBubble(x, y) {
  const { width, height } = bubble.getBoundingClientRect();
  const left = x + 18 + width < innerWidth ? x + 18 : x - 18 - width;
  bubble.style.left = `${Math.max(4, Math.min(left, innerWidth - width - 4))}px`;
  bubble.style.top = `${Math.max(4, Math.min(y - height / 2, innerHeight - height - 4))}px`;
}

function hideValues() {
  bubble.hidden = true;
  for (const chart of charts) chart.cross(null);
}

function speak(chart, shown) {
  if (!shown) return;
  const { values, nearest } = shown;
  const some = values.slice(0, SPOKEN_VALUES);
  const texts = some.map(({ line, value }) => `${line.name} ${numberText(value)}`);
  const where = `${DATA.axes[state.axis]} ${numberText(nearest.x, 6)}`;
  spoken.textContent = `${chart.title}, ${where}: ${texts.join(", ")}`;
}
