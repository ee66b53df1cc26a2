// One chart: its axes and lines, pointing at values, zooming.

const MARGIN = { left: 52, right: 12, top: 8, bottom: 34 };
const FEW_LINES = 6; // fewer are also drawn unsmoothed, pale
const DRAG_PX = 6;

class Chart {
  constructor(metric) {
    this.metric = metric;
    this.title = METRICS[metric];
    this.svg = svgElement("svg", { tabindex: "0", role: "img" });
    const widen = element("button", { type: "button", "aria-pressed": "false" }, "Enlarge");
    widen.setAttribute("aria-label", `enlarge ${this.title}`);
    widen.addEventListener("click", () => {
      const isWide = this.figure.classList.toggle("wide");
      widen.setAttribute("aria-pressed", isWide);
      widen.firstChild.data = isWide ? "Reduce" : "Enlarge";
    });
    const top = element("div", { className: "top" }, element("h3", {}, this.title), widen);
    this.figure = element("div", { className: "chart" }, top, this.svg);
    this.isStale = true;
    this.isSeen = false;
    pointing(this);
  }

  // Draws now if it is seen, else when it will be.
  refresh() {
    this.isStale = true;
    if (this.isSeen) this.draw();
  }

  draw() {
    const { width, height } = this.svg.getBoundingClientRect();
    if (!width) return;
    this.isStale = false;
    const groups = drawnGroups();
    const isFew = groups.flatMap((group) => group.runs).length <= FEW_LINES;
    this.drawn = groups.flatMap((group) =>
      linesOf(group, this.metric, isFew).map((line) => ({ group, ...line })),
    );
    this.frame(width, height);
    // On paper it is scaled.
    this.svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.svg.replaceChildren(...this.axes(), this.marks(), svgElement("g", { class: "over" }));
    const axis = DATA.axes[state.axis];
    const what = `${this.title} against ${axis}, ${groups.length} groups`;
    this.svg.setAttribute("aria-label", `${what}; arrow keys read values`);
    this.mark();
  }

  frame(width, height) {
    const right = width - MARGIN.right;
    const bottom = height - MARGIN.bottom;
    const xs = this.drawn.filter((line) => line.xs.length);
    const first = Math.min(...xs.map((line) => line.xs[0]));
    const last = Math.max(...xs.map((line) => line.xs[line.xs.length - 1]));
    this.range = state.zoom ?? rangeOf(last - state.part * (last - first), last);
    const [from, to] = this.range;
    const [low, high] = heightRange(this.drawn, this.range, state.clip);
    const across = (right - MARGIN.left) / (to - from);
    const up = (bottom - MARGIN.top) / (high - low);
    Object.assign(this, { width, height, right, bottom, heights: [low, high] });
    this.x = (value) => MARGIN.left + (value - from) * across;
    // What lies far outside is drawn not far outside: coordinates have their limits.
    this.y = (value) => Math.max(-height, Math.min(2 * height, bottom - (value - low) * up));
    this.valueAt = (x) => from + (x - MARGIN.left) / across;
  }

  axes() {
    const made = [];
    const text = (x, y, anchor, words) =>
      made.push(svgElement("text", { x, y, "text-anchor": anchor }, words));
    for (const [value, words] of ticksOf(...this.heights, Math.max(3, this.height / 45))) {
      const y = this.y(value);
      made.push(svgElement("path", { class: "grid", d: `M${MARGIN.left},${y}H${this.right}` }));
      text(MARGIN.left - 6, y + 4, "end", words);
    }
    for (const [value, words] of ticksOf(...this.range, Math.max(3, this.width / 75))) {
      const x = this.x(value);
      const isLast = x > this.right - 14;
      text(isLast ? this.right : x, this.bottom + 15, isLast ? "end" : "middle", words);
    }
    const d = `M${MARGIN.left},${this.bottom}H${this.right}`;
    made.push(svgElement("path", { class: "floor", d }));
    const middle = (MARGIN.left + this.right) / 2;
    text(middle, this.bottom + 30, "middle", DATA.axes[state.axis]);
    if (!this.drawn.some((line) => line.ys.some(Number.isFinite))) {
      text(middle, (MARGIN.top + this.bottom) / 2, "middle", "no values to show");
    }
    return made;
  }

  marks() {
    const id = `clip-${this.metric}`;
    const clip = svgElement("clipPath", { id });
    const [left, top] = [MARGIN.left - 2, MARGIN.top - 3];
    const size = { width: this.right - left + 2, height: this.bottom - top + 3 };
    clip.append(svgElement("rect", { x: left, y: top, ...size }));
    const marks = svgElement("g", { class: "marks", "clip-path": `url(#${id})` }, clip);
    // Means lie above all single lines.
    const layers = ["band", "pale", "thin", "solid"];
    for (const kind of layers) {
      for (const line of this.drawn.filter((one) => one.kind === kind)) marks.append(this.path(line));
    }
    return marks;
  }

  path(line) {
    const isBand = line.kind === "band";
    const d = isBand ? bandPath(line, this.x, this.y) : pathOf(line, this.x, this.y, this.range);
    const style = isBand ? fillOf(line.group) : strokeOf(line.group, line.kind === "solid");
    const made = svgElement("path", { class: isBand ? "band" : `line ${line.kind}`, d, style });
    line.path = made;
    return made;
  }

  // Shows which group is pointed at.
  mark() {
    if (this.isStale) return;
    const isMarked = this.drawn.some((line) => line.group === state.marked);
    this.svg.classList.toggle("marked", isMarked);
    for (const line of this.drawn) {
      const isMark = line.group === state.marked;
      line.path.classList.toggle("mark", isMark);
      if (isMark && isMarked) line.path.parentNode.append(line.path);
    }
  }

  // What the lines have at a place of the axis, from top to bottom: {line, x, value}.
  valuesAt(place) {
    const near = (this.range[1] - this.range[0]) / 50;
    const found = [];
    for (const line of this.drawn) {
      if (line.kind !== "solid" || !line.xs.length) continue;
      const i = nearestPlace(line.xs, place);
      const isBetween = place >= line.xs[0] && place <= line.xs[line.xs.length - 1];
      if (isBetween || Math.abs(line.xs[i] - place) <= near) {
        found.push({ line, x: line.xs[i], value: line.ys[i] });
      }
    }
    return found.sort((a, b) => (b.value || 0) - (a.value || 0));
  }

  // A vertical line at a place of the axis, and a dot on each line; null takes them away.
  cross(place, values = []) {
    if (this.isStale) return;
    const over = this.svg.querySelector(".over");
    over.replaceChildren();
    if (place === null || place < this.range[0] || place > this.range[1]) return;
    const x = this.x(place);
    over.append(svgElement("path", { class: "cross", d: `M${x},${MARGIN.top}V${this.bottom}` }));
    for (const { line, x: at, value } of values) {
      const y = this.y(value);
      if (!(y >= MARGIN.top - 3 && y <= this.bottom + 3)) continue;
      over.append(svgElement("circle", { cx: this.x(at), cy: y, r: 3, style: fillOf(line.group) }));
    }
  }
}
