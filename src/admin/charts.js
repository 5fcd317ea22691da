// Charts as SVG, drawn by hand. A library would be ten times this file, and would have to be vendored, licensed and kept; the page
// needs two kinds of chart, and wants them readable by keyboard and screen reader.
"use strict";
const SVG = "http://www.w3.org/2000/svg";
const svg = (name, attributes = {}, ...children) => {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
};
const html = (name, properties = {}, ...children) => {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children);
  return element;
};

// An axis does not end below one request or millisecond: noise would fill it.
const LEAST_END = 1;

// Series that are named above a chart; the others are in its tip.
const KEYS_SHOWN = 8;

// The end of an axis: 1, 2 or 5 times a power of ten.
function axisEnd(highest) {
  if (!(highest > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(highest));
  return [1, 2, 5, 10, 20].map(step => step * power).find(end => end >= highest * 1.02);
}

// A path through the points that exist; where there is none, it breaks off.
function linePath(points) {
  let path = "", pen = "M";
  for (const point of points) {
    if (!point) { pen = "M"; continue; }
    // A line of no length: with round ends, a point without neighbours is a dot.
    path += `${pen}${point[0].toFixed(1)} ${point[1].toFixed(1)}${pen === "M" ? "h0" : ""}`;
    pen = "L";
  }
  return path;
}

class Chart {
  // kind: "stack" or "lines". format: value -> text.
  constructor(figure, { title, kind, format, extra }) {
    Object.assign(this, { figure, title, kind, format, cursor: null });
    this.keys = html("span", { className: "keys" });
    this.svg = svg("svg", { tabindex: 0, role: "img" });
    this.tip = html("div", { className: "tip", hidden: true });
    this.said = html("span", { className: "hidden", role: "status" });
    this.none = html("div", { className: "none", textContent: "Nothing yet" });
    const caption = html("figcaption", {}, html("b", { textContent: title }));
    if (extra) caption.append(extra);
    caption.append(this.keys);
    figure.append(caption, this.svg, this.none, this.tip, this.said);
    this.svg.addEventListener("pointermove", event => this.point(event));
    this.svg.addEventListener("pointerleave", () => this.leave());
    this.svg.addEventListener("blur", () => this.leave());
    this.svg.addEventListener("keydown", event => this.key(event));
    new ResizeObserver(() => this.draw()).observe(this.svg);
  }

  // series: [{ name, key, values }], key being a colour class. With `line`, a series of a stack is a line above it.
  show(times, span, series) {
    Object.assign(this, { times, span, series });
    const named = series.slice(0, KEYS_SHOWN), more = series.length - named.length;
    this.keys.replaceChildren(...named.map(s => html("span", {}, html("i", { className: s.key }), s.name)), ...(more ? [html("span", { textContent: `and ${more} more` })] : []));
    const last = s => s.values.findLast?.(value => value !== null) ?? null;
    const now = series.map(s => `${s.name} ${last(s) === null ? "none" : this.format(last(s))}`).join(", ");
    this.svg.setAttribute("aria-label", `${this.title}. Now: ${now || "nothing"}. Arrow keys move through time.`);
    this.draw();
  }

  draw() {
    if (!this.times) return;
    const width = this.svg.clientWidth, height = this.svg.clientHeight;
    if (!width) return;
    const box = this.box = { left: 46, right: width - 4, top: 8, bottom: height - 18 };
    const isStack = this.kind === "stack", { times, series, span } = this;
    const newest = times.at(-1) ?? Date.now();
    this.x = at => box.right - (newest - times[at]) / span * (box.right - box.left);
    const stacked = series.filter(s => isStack && !s.line), lines = series.filter(s => !isStack || s.line);
    const totals = times.map((_, at) => stacked.reduce((sum, s) => sum + (s.values[at] ?? 0), 0));
    const highest = Math.max(0, ...totals, ...lines.flatMap(s => s.values).map(v => v ?? 0));
    const end = axisEnd(Math.max(highest, LEAST_END));
    const y = value => box.bottom - value / end * (box.bottom - box.top);
    const parts = [];
    for (const share of [0, .5, 1]) {
      const at = y(end * share);
      parts.push(svg("line", { class: share ? "grid" : "axis", x1: box.left, x2: box.right, y1: at, y2: at }));
      parts.push(svg("text", { x: box.left - 7, y: at + 4, "text-anchor": "end" }, share || !highest ? this.format(end * share) : "0"));
    }
    const whole = span / 60000, step = whole > 10 ? 15 : 1;
    for (let minutes = 0; minutes <= whole; minutes += step) {
      const x = box.right - minutes / whole * (box.right - box.left);
      // Where there is little room, every second mark has its text.
      if (width < 420 && minutes % (2 * step)) continue;
      parts.push(svg("text", { x, y: height - 3, "text-anchor": minutes === whole ? "start" : minutes ? "middle" : "end" }, minutes ? `-${minutes} min` : "now"));
    }
    const floor = times.map(() => 0), first = times.findIndex(t => newest - t <= span * 1.01);
    const inside = first < 0 ? [] : times.map((_, at) => at).slice(first);
    for (const s of [...stacked, ...lines]) {
      if (isStack && !s.line) {
        const below = inside.map(at => [this.x(at), y(floor[at])]);
        inside.forEach(at => floor[at] += s.values[at] ?? 0);
        const above = inside.map(at => [this.x(at), y(floor[at])]);
        if (above.length) parts.push(svg("path", { class: `fill ${s.key}`, d: `${linePath([...above, ...below.reverse()])}Z` }));
      } else {
        const points = inside.map(at => s.values[at] === null || s.values[at] === undefined ? null : [this.x(at), y(s.values[at])]);
        if (s.area && points.length) {
          const shown = points.map((p, i) => p ?? [this.x(inside[i]), box.bottom]);
          parts.push(svg("path", { class: `fill soft-fill ${s.key}`, d: `${linePath([[shown[0][0], box.bottom], ...shown, [shown.at(-1)[0], box.bottom]])}Z` }));
        }
        parts.push(svg("path", { class: `stroke ${s.key}${s.line ? " dashed" : ""}`, d: linePath(points) }));
      }
    }
    this.none.hidden = highest > 0;
    if (!highest) this.none.textContent = times.length ? this.quiet ?? "None" : "Nothing yet";
    this.rule = svg("line", { class: "cursor", y1: box.top, y2: box.bottom, visibility: "hidden" });
    this.svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.svg.replaceChildren(...parts, this.rule);
    if (this.cursor !== null) this.mark(this.cursor, false);
  }

  point(event) {
    if (!this.times?.length) return;
    const at = event.clientX - this.svg.getBoundingClientRect().left;
    const nearest = this.times.reduce((best, _, n) => Math.abs(this.x(n) - at) < Math.abs(this.x(best) - at) ? n : best, 0);
    this.mark(this.times[nearest], false);
  }

  key(event) {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (event.key === "Escape") this.leave();
    if (!step || !this.times?.length) return;
    event.preventDefault();
    const from = this.cursor === null ? this.times.length : this.times.indexOf(this.cursor);
    this.mark(this.times[Math.min(this.times.length - 1, Math.max(0, from + step))], true);
  }

  // The moment is a time, not an index: the curve moves on below it.
  mark(time, isSaid) {
    const at = this.times.indexOf(time);
    if (at < 0) return this.leave();
    this.cursor = time;
    const x = this.x(at), clock = new Date(time).toLocaleTimeString();
    this.rule.setAttribute("x1", x);
    this.rule.setAttribute("x2", x);
    this.rule.setAttribute("visibility", "visible");
    const shown = this.series.filter(s => (s.values[at] ?? null) !== null).toReversed?.() ?? this.series;
    const row = s => html("div", {}, html("span", {}, html("i", { className: s.key }), s.name), html("b", { textContent: this.format(s.values[at]) }));
    this.tip.replaceChildren(html("div", { textContent: clock }), ...(this.kind === "stack" ? shown.filter(s => s.values[at] > 0) : shown).map(row));
    this.tip.hidden = false;
    const left = this.svg.offsetLeft + x;
    this.tip.style.left = left > this.figure.clientWidth / 2 ? "" : `${left + 12}px`;
    this.tip.style.right = left > this.figure.clientWidth / 2 ? `${this.figure.clientWidth - left + 12}px` : "";
    if (isSaid) this.said.textContent = `${clock}: ${shown.map(s => `${s.name} ${this.format(s.values[at])}`).join(", ") || "nothing"}`;
  }

  leave() {
    this.cursor = null;
    this.tip.hidden = true;
    this.rule?.setAttribute("visibility", "hidden");
  }
}

// What one upstream works on, below the band of its limit.
function sparkline(element, inFlight, limits, samples) {
  const width = 118, height = 36, known = limits.filter(v => (v ?? null) !== null);
  const top = Math.max(1, ...known, ...inFlight.map(v => v ?? 0)) * 1.08;
  const x = at => width - (inFlight.length - 1 - at) / Math.max(1, samples - 1) * width, y = value => height - value / top * height;
  const area = values => {
    const points = values.map((v, at) => [x(at), y(v ?? 0)]);
    return points.length ? `${linePath([[points[0][0], height], ...points, [width, height]])}Z` : "";
  };
  element.setAttribute("viewBox", `0 0 ${width} ${height}`);
  element.replaceChildren(
    svg("path", { class: "band", d: area(limits) }),
    svg("path", { class: "flight", d: area(inFlight) }),
    svg("path", { class: "limit", d: linePath(limits.map((v, at) => (v ?? null) === null ? null : [x(at), y(v)])) }),
  );
}
