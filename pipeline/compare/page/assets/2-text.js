// Numbers as text, round values along an axis, and elements.

function numberText(value, digits = 4) {
  if (Number.isNaN(value)) return "NaN";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "-∞";
  const rounded = Number(value.toPrecision(digits));
  const size = Math.abs(rounded);
  if (size && (size < 1e-3 || size >= 1e13)) {
    return rounded.toExponential(digits - 2).replace(/\.?0*e\+?/, "e");
  }
  const [unit, suffix] = prefixOf(size);
  return Number((rounded / unit).toPrecision(digits)) + suffix;
}

function prefixOf(size) {
  if (size >= 1e4) {
    for (const [unit, suffix] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
      if (size >= unit) return [unit, suffix];
    }
  }
  return [1, ""];
}

function pointsText(points) {
  if (points === null) return "–";
  const shown = points.toFixed(2);
  if (Number(shown) === 0) return "0.00";
  return points < 0 ? shown : `+${shown}`;
}

function chanceText(p) {
  if (p < 0.0001) return "p < 0.0001";
  return `p = ${p < 0.01 ? p.toFixed(4) : Number(p.toPrecision(2))}`;
}

// At most `most` multiples of 1, 2 or 5 times a power of ten, and their texts.
function ticksOf(low, high, most) {
  const power = 10 ** Math.floor(Math.log10((high - low) / most));
  const step = [1, 2, 5, 10, 20, 50, 100]
    .map((lead) => lead * power)
    .find((s) => Math.floor(high / s + 1e-9) - Math.ceil(low / s - 1e-9) < most);
  const values = [];
  for (let n = Math.ceil(low / step - 1e-9); n <= Math.floor(high / step + 1e-9); n++) {
    values.push(n * step);
  }
  return values.map((value) => [value, tickText(value, step, Math.max(...values.map(Math.abs)))]);
}

function tickText(value, step, largest) {
  if (largest < 1e-3 || largest >= 1e13) return numberText(value);
  const [unit, suffix] = prefixOf(largest);
  const decimals = Math.max(0, -Math.floor(Math.log10(step / unit) + 1e-9));
  return (value / unit).toFixed(decimals) + (value ? suffix : "");
}

// An HTML element; `properties` are set on it, those with a dash or a role as attributes.
function element(name, properties = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key.includes("-") || key === "role") made.setAttribute(key, value);
    else made[key] = value;
  }
  made.append(...children);
  return made;
}

function svgElement(name, attributes = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

// The short piece of line that stands for a group.
function swatchOf(group) {
  return svgElement(
    "svg",
    { viewBox: "0 0 24 10", "aria-hidden": "true" },
    svgElement("line", { x1: 1, x2: 23, y1: 5, y2: 5, style: strokeOf(group) }),
  );
}

function strokeOf(group, isDashed = true) {
  const [color, dash] = group.look;
  return `stroke:var(--line-${color})${dash && isDashed ? `;stroke-dasharray:${dash}` : ""}`;
}

function fillOf(group) {
  return `fill:var(--line-${group.look[0]})`;
}
