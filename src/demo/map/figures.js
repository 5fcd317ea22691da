// The times and outcomes of tiles: a table of both balancers, and a dot for each tile of the last minute.
"use strict";

const WINDOW = 15000;
const CHART_SPAN = 60000;
const MAX_SAMPLES = 4000;
const [CHART_LEAST, CHART_MOST] = [3, 10000];

class Figures {
  constructor(canvas, rows) {
    this.canvas = canvas;
    this.rows = new Map([...rows].map(row => [row.dataset.way, row]));
    this.samples = [];
    this.totals = new Map([...this.rows.keys()].map(way => [way, { tiles: 0, wrong: 0, failed: 0, p50: null, p95: null }]));
    this.tints = new Map();
    setInterval(() => this.draw(), 500);
  }

  through(way) {
    this.way = way;
    for (const [name, row] of this.rows) row.classList.toggle("is-now", name === way);
  }

  add(sample) {
    this.samples.push(sample);
    if (this.samples.length > MAX_SAMPLES) this.samples.splice(0, MAX_SAMPLES / 4);
    const totals = this.totals.get(sample.way);
    totals.tiles++;
    if (sample.outcome !== "good") totals[sample.outcome]++;
  }

  // The tiles through this way that arrived in the last seconds.
  recent(way) {
    const since = performance.now() - WINDOW;
    return this.samples.filter(sample => sample.way === way && sample.at >= since);
  }

  // The tiles through this way that were requested after a time: those under way at that time show what was before it.
  after(way, time) {
    return this.samples.filter(sample => sample.way === way && sample.at - sample.took >= time);
  }

  quantile(samples, share) {
    if (!samples.length) return null;
    const times = samples.map(sample => sample.took).sort((a, b) => a - b);
    return times[Math.min(times.length - 1, Math.floor(times.length * share))];
  }

  // The share of each upstream in the good tiles of the last seconds.
  shares() {
    const good = this.recent(this.way).filter(sample => sample.outcome === "good"), shares = new Map();
    for (const { upstream } of good) shares.set(upstream, (shares.get(upstream) ?? 0) + 1 / good.length);
    return shares;
  }

  draw() {
    for (const [way, row] of this.rows) {
      const totals = this.totals.get(way), recent = this.recent(way);
      if (way === this.way) Object.assign(totals, { p50: this.quantile(recent, .5), p95: this.quantile(recent, .95) });
      const time = value => value === null ? "–" : value < 1000 ? `${Math.round(value)} ms` : `${(value / 1000).toFixed(1)} s`;
      [time(totals.p50), time(totals.p95), totals.tiles, totals.wrong, totals.failed].forEach((text, at) => {
        row.children[at + 1].textContent = text;
        row.children[at + 1].classList.toggle("is-bad", at > 2 && text > 0);
      });
    }
    this.drawChart();
  }

  drawChart() {
    const { canvas } = this, ratio = devicePixelRatio || 1, width = canvas.clientWidth, height = canvas.clientHeight;
    if (!width) return;
    if (canvas.width !== Math.round(width * ratio)) [canvas.width, canvas.height] = [Math.round(width * ratio), Math.round(height * ratio)];
    const ink = canvas.getContext("2d"), style = getComputedStyle(document.documentElement), colour = name => style.getPropertyValue(name).trim();
    ink.setTransform(ratio, 0, 0, ratio, 0, 0);
    ink.clearRect(0, 0, width, height);
    const [left, bottom] = [46, height - 14], now = performance.now();
    const y = took => bottom - Math.log(Math.max(took, CHART_LEAST) / CHART_LEAST) / Math.log(CHART_MOST / CHART_LEAST) * (bottom - 8);
    const x = at => width - (now - at) / CHART_SPAN * (width - left);
    ink.font = "11px system-ui, sans-serif";
    ink.textAlign = "right";
    for (const [took, text] of [[10, "10 ms"], [100, "100 ms"], [1000, "1 s"], [10000, "10 s"]]) {
      ink.fillStyle = colour("--line");
      ink.fillRect(left, Math.round(y(took)), width - left, 1);
      ink.fillStyle = colour("--soft");
      ink.fillText(text, left - 6, y(took) + 4);
    }
    ink.textAlign = "left";
    ink.fillText("1 minute ago", left, height - 1);
    ink.textAlign = "right";
    ink.fillText("now", width, height - 1);
    for (const { at, took, outcome, upstream } of this.samples) {
      if (now - at > CHART_SPAN) continue;
      const isGood = outcome === "good";
      ink.fillStyle = isGood ? this.tints.get(upstream) ?? colour("--soft") : colour("--bad");
      const [px, py, size] = [x(at), y(took), isGood ? 3.2 : 5];
      if (isGood) { ink.beginPath(); ink.arc(px, py, size / 2 + .6, 0, 7); ink.fill(); }
      else { ink.fillRect(px - size, py - 1, size * 2, 2); ink.fillRect(px - 1, py - size, 2, size * 2); }
    }
  }
}
