// Lines from curves: smoothing, means over seeds, and no more points than pixels. No drawing.

const MEAN_POINTS = 600;
const GIANT = 1e6;
const DOT = "m-1.2,0a1.2,1.2 0 1 0 2.4,0a1.2,1.2 0 1 0 -2.4,0"; // around a point on its own

// All that is drawn of a group in a metric's chart, what lies below first:
// {kind, xs, ys, name} with kind solid, thin, pale or band (which has lows as well).
function linesOf(group, metric, isFew) {
  const runs = group.runs.filter((run) => run.curves.has(metric) && hasAxis(run));
  const points = runs.map((run) => lineOf(run, curveOf(run, metric).points));
  const means = runs.map((run) => smoothed(lineOf(run, curveOf(run, metric).means)));
  const lines = state.smoothing ? means : points;
  const counted = means.filter((_, place) => runs[place].isCounted);
  if (counted.length > 1 && state.seeds !== "each") {
    const mean = { kind: "solid", name: group.label, ...spreadOf(counted) };
    const others = lines.map((line) => ({ ...line, kind: "thin" }));
    return state.seeds === "band" ? [{ ...mean, kind: "band" }, mean] : [...others, mean];
  }
  const pale = state.smoothing && isFew ? points.map((line) => ({ ...line, kind: "pale" })) : [];
  return [...pale, ...lines];
}

function hasAxis(run) {
  return state.axis === "step" || run.axes[state.axis];
}

function lineOf(run, { xs, ys }) {
  return { kind: "solid", xs: placesOf(run, xs, state.axis), ys, name: run.name };
}

// A moving average over a share of the axis, twice for a soft edge; gaps stay gaps.
function smoothed(line) {
  const { xs, ys } = line;
  const reach = ((state.smoothing / 100) * (xs[xs.length - 1] - xs[0])) / 2;
  return reach > 0 ? { ...line, ys: movingMean(xs, movingMean(xs, ys, reach), reach) } : line;
}

function movingMean(xs, ys, reach) {
  const means = new Float64Array(ys.length);
  let [from, to, sum, count] = [0, 0, 0, 0];
  for (let i = 0; i < xs.length; i++) {
    for (; to < xs.length && xs[to] <= xs[i] + reach; to++) {
      if (Number.isFinite(ys[to])) [sum, count] = [sum + ys[to], count + 1];
    }
    for (; xs[from] < xs[i] - reach; from++) {
      if (!Number.isFinite(ys[from])) continue;
      [sum, count] = [sum - ys[from], count - 1];
      // A giant leaves nothing of the digits of what it was added to.
      if (Math.abs(ys[from]) > GIANT * Math.abs(sum)) sum = sumOf(ys, from + 1, to);
    }
    means[i] = Number.isFinite(ys[i]) ? sum / count : ys[i];
  }
  return means;
}

function sumOf(ys, from, to) {
  let sum = 0;
  for (let i = from; i < to; i++) if (Number.isFinite(ys[i])) sum += ys[i];
  return sum;
}

// Mean, lowest and highest of several lines, where all of them are: {xs, ys, lows, highs}.
function spreadOf(lines) {
  const xs = commonPlaces(lines);
  const columns = lines.map((line) => (line.xs === xs ? line.ys : valuesAt(line, xs)));
  const over = (combine) => xs.map((_, i) => combine(columns.map((column) => column[i])));
  return {
    xs,
    ys: over((values) => values.reduce((a, b) => a + b, 0) / values.length),
    lows: over((values) => Math.min(...values)),
    highs: over((values) => Math.max(...values)),
  };
}

function commonPlaces(lines) {
  const [first, ...others] = lines.map((line) => line.xs);
  const same = (xs) => xs.length === first.length && xs.every((x, i) => x === first[i]);
  if (others.every(same)) return first;
  const from = Math.max(...lines.map((line) => line.xs[0]));
  const to = Math.min(...lines.map((line) => line.xs[line.xs.length - 1]));
  if (from > to) return new Float64Array(0);
  const longest = Math.max(...lines.map((line) => line.xs.length));
  const count = Math.max(2, Math.min(MEAN_POINTS, longest));
  return Float64Array.from({ length: count }, (_, i) => from + ((to - from) * i) / (count - 1));
}

function valuesAt(line, places) {
  let right = 1;
  return places.map((x) => {
    while (right < line.xs.length - 1 && line.xs[right] < x) right++;
    const left = Math.max(0, Math.min(right, line.xs.length - 1) - 1);
    const end = Math.min(right, line.xs.length - 1);
    const width = line.xs[end] - line.xs[left];
    const share = width > 0 ? (x - line.xs[left]) / width : 0;
    return line.ys[left] + share * (line.ys[end] - line.ys[left]);
  });
}

// The place of the first x that is not below a value.
function placeOf(xs, value) {
  let [low, high] = [0, xs.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (xs[middle] < value) low = middle + 1;
    else high = middle;
  }
  return low;
}

function nearestPlace(xs, value) {
  const right = placeOf(xs, value);
  if (right === 0) return 0;
  if (right === xs.length) return xs.length - 1;
  return value - xs[right - 1] < xs[right] - value ? right - 1 : right;
}

// The range of an axis: [low, high], never empty.
function rangeOf(low, high) {
  if (!(low <= high)) return [0, 1];
  if (high - low > 1e-12 * Math.max(Math.abs(low), Math.abs(high))) return [low, high];
  const reach = Math.abs(low) / 20 || 1;
  return [low && low - reach, high + reach];
}

// The range of all y of the lines between two x, some room around it.
function heightRange(lines, [from, to], clip) {
  const values = [];
  for (const { xs, ys, lows, highs, kind } of lines) {
    const last = Math.min(xs.length, placeOf(xs, to) + 1);
    for (let i = Math.max(0, placeOf(xs, from) - 1); i < last; i++) {
      const ends = kind === "band" ? [lows[i], highs[i]] : [ys[i]];
      for (const value of ends) if (Number.isFinite(value)) values.push(value);
    }
  }
  const sorted = Float64Array.from(values).sort();
  let [low, high] = [sorted[0], sorted[sorted.length - 1]];
  if (clip && sorted.length) {
    const inner = [0.01, 0.99].map((share) => sorted[Math.round(share * (sorted.length - 1))]);
    const reach = 2 * (inner[1] - inner[0]);
    if (reach > 0) [low, high] = [Math.max(low, inner[0] - reach), Math.min(high, inner[1] + reach)];
  }
  [low, high] = rangeOf(low, high);
  const room = 0.04 * (high - low);
  return [low >= 0 && low < room ? 0 : low - room, high + room];
}

// The path of a line in pixels. Of points that share a column, the lowest and the highest stay.
function pathOf(line, x, y, [from, to]) {
  const last = Math.min(line.xs.length, placeOf(line.xs, to) + 1);
  const parts = [];
  let [column, low, high, end, isOpen] = [null, 0, 0, 0, false];
  const point = (at, height) => {
    parts.push(`${isOpen ? "L" : "M"}${at},${height.toFixed(1)}`);
    isOpen = true;
  };
  const flush = () => {
    if (column === null) return;
    const at = (column / 2).toFixed(1);
    for (const height of new Set([low, high, end])) point(at, height);
    column = null;
  };
  for (let i = Math.max(0, placeOf(line.xs, from) - 1); i < last; i++) {
    if (!Number.isFinite(line.ys[i])) {
      flush();
      isOpen = false;
      continue;
    }
    const height = y(line.ys[i]);
    const here = Math.round(2 * x(line.xs[i]));
    if (here !== column) {
      flush();
      [column, low, high] = [here, height, height];
    }
    [low, high, end] = [Math.min(low, height), Math.max(high, height), height];
  }
  flush();
  return parts.map((part, i) => (isAlone(parts, i) ? part + DOT : part)).join("");
}

function isAlone(parts, i) {
  return parts[i][0] === "M" && (i + 1 === parts.length || parts[i + 1][0] === "M");
}

function bandPath({ xs, lows, highs }, x, y) {
  const edge = (ys) => Array.from(xs, (at, i) => `${x(at).toFixed(1)},${y(ys[i]).toFixed(1)}`);
  const isWhole = [...lows, ...highs].every(Number.isFinite);
  return xs.length && isWhole ? `M${edge(highs).join("L")}L${edge(lows).reverse().join("L")}Z` : "";
}
