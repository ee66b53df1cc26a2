// The data of the page: groups of runs, and their curves, which are decoded when first drawn.

const DATA = JSON.parse(document.getElementById("data").textContent);
const METRICS = DATA.curves.metrics;
const GROUPS = [];
const RUNS = [];

for (const packed of DATA.groups) {
  const group = { ...packed, index: GROUPS.length, runs: [] };
  packed.runs.forEach((name, place) => {
    const { last, axes, curves } = DATA.curves.runs[RUNS.length];
    const isCounted = packed.counted.includes(place);
    const byMetric = new Map(curves.map(([metric, ...packed]) => [metric, { packed }]));
    const run = { name, group, isCounted, last, axes, curves: byMetric };
    RUNS.push(run);
    group.runs.push(run);
  });
  GROUPS.push(group);
}

// A run's metric (a place in METRICS) by step: {points: {xs, ys}, means: {xs, ys}}; null where it
// has none. The points of a long curve are the extremes of short stretches, of which means has the
// means; else both are the same.
function curveOf(run, metric) {
  const curve = run.curves.get(metric);
  if (!curve) return null;
  if (!curve.points) {
    const [steps, values, meanSteps, meanValues] = curve.packed;
    curve.points = unpackLine(steps, values);
    curve.means = meanValues ? unpackLine(meanSteps, meanValues) : curve.points;
  }
  return curve;
}

// Where a run's steps lie on an axis, which it must have.
function placesOf(run, steps, axis) {
  if (axis === "step") return steps;
  const knots = run.axes[axis];
  if (knots.length === 1) return steps.map(() => knots[0]);
  const stepOf = (knot) => Math.floor((knot * run.last) / (knots.length - 1));
  let left = 0;
  return steps.map((step) => {
    while (left < knots.length - 2 && stepOf(left + 1) <= step) left++;
    const share = (step - stepOf(left)) / (stepOf(left + 1) - stepOf(left));
    return knots[left] + share * (knots[left + 1] - knots[left]);
  });
}

function unpackLine(steps, values) {
  const xs = stepsAt(steps);
  return { xs, ys: unpackValues(values, xs.length) };
}

const unpackedSteps = [];

function stepsAt(place) {
  unpackedSteps[place] ??= unpackSteps(...DATA.curves.steps[place]);
  return unpackedSteps[place];
}

function unpackSteps(first, unit, width, text) {
  const bytes = bytesOf(text);
  const steps = new Float64Array(bytes.length / width + 1);
  steps[0] = first;
  for (let i = 1; i < steps.length; i++) {
    let distance = 0;
    for (let b = width; b-- > 0; ) distance = distance * 256 + bytes[(i - 1) * width + b];
    steps[i] = steps[i - 1] + unit * distance;
  }
  return steps;
}

// Little-endian float32; of thinned curves the lowest byte is left out.
function unpackValues(text, count) {
  const bytes = bytesOf(text);
  const width = bytes.length / count;
  const view = new DataView(new ArrayBuffer(4));
  const values = new Float64Array(count);
  for (let i = 0; i < count; i++) {
    for (let b = 0; b < width; b++) view.setUint8(4 - width + b, bytes[i * width + b]);
    values[i] = view.getFloat32(0, true);
  }
  return values;
}

function bytesOf(text) {
  const characters = atob(text);
  const bytes = new Uint8Array(characters.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = characters.charCodeAt(i);
  return bytes;
}
