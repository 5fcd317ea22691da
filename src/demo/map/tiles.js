// The tiles of the map: fetched one by one, so that the page knows the time, the replica and the outcome of each. Visible tiles are
// fetched again and again, so that the map shows what the cluster does now.
"use strict";

const PUBLIC_LAYER = "geor:public_layer";
// A viewer that waits longer shows a hole.
const TILE_LIMIT = 8000;
// Browsers open six connections to one address; one is left for what the visitor moves to.
const MAX_REFRESHES = 5;
const REFRESH_EVERY = 110;
const HALF_WORLD = 20037508.342789244;

class Tiles {
  // `report` receives { way, outcome, upstream, took } for each tile.
  constructor(map, report) {
    this.map = map;
    this.report = report;
    this.shown = new Set();
    this.refreshing = 0;
    this.base = this.layerOf(PUBLIC_LAYER, "");
    this.overlays = new Map();
    setInterval(() => this.refresh(), REFRESH_EVERY);
  }

  // `way` is the name of a balancer, `origin` its address.
  through(way, origin) {
    this.way = way;
    this.origin = origin;
    if (!this.map.hasLayer(this.base)) this.base.addTo(this.map);
    else for (const tile of this.shown) this.fetch(tile);
  }

  show(layer) {
    if (this.overlays.has(layer)) return;
    for (const old of this.overlays.values()) old.remove();
    this.overlays.clear();
    this.overlays.set(layer, this.layerOf(layer, "overlay").addTo(this.map));
  }

  layerOf(layer, className) {
    const tiles = this;
    const Kind = L.GridLayer.extend({
      createTile(coords) {
        const element = L.DomUtil.create("div", "tile");
        element.image = element.appendChild(document.createElement("img"));
        element.image.alt = "";
        element.fault = element.appendChild(document.createElement("div"));
        element.fault.className = "fault";
        const tile = { element, layer, coords: { ...coords }, isOverlay: className !== "", number: 0, shownNumber: 0 };
        element.tile = tile;
        tiles.shown.add(tile);
        tiles.fetch(tile);
        return element;
      },
    });
    const created = new Kind({ className, noWrap: true, minZoom: 1, maxZoom: 7, keepBuffer: 0, updateWhenZooming: false, bounds: [[-85.05, -180], [85.05, 180]] });
    created.on("tileunload", event => this.shown.delete(event.tile.tile));
    return created;
  }

  addressOf({ layer, coords: { x, y, z } }) {
    const side = 2 * HALF_WORLD / 2 ** z, west = x * side - HALF_WORLD, north = HALF_WORLD - y * side;
    const box = [west, north - side, west + side, north].map(edge => edge.toFixed(6)).join(",");
    const query = `service=WMS&version=1.1.1&request=GetMap&layers=${layer}&styles=&format=image/png&transparent=true&tiled=true&srs=EPSG:3857&bbox=${box}&width=256&height=256`;
    return `${this.origin}/geoserver/wms?${query}`;
  }

  async fetch(tile) {
    const { way } = this, number = ++tile.number, began = performance.now();
    const { outcome, why, upstream, blob } = await this.request(this.addressOf(tile));
    const took = performance.now() - began;
    if (way !== this.way) return;
    this.report({ way, outcome, upstream, took, at: performance.now() });
    // An older request may end after a newer one.
    if (number < tile.shownNumber || !this.shown.has(tile)) return;
    tile.shownNumber = number;
    this.draw(tile, outcome, why, upstream, blob);
  }

  async request(address) {
    const stop = new AbortController(), timer = setTimeout(() => stop.abort(), TILE_LIMIT);
    try {
      const answer = await fetch(address, { signal: stop.signal, cache: "no-store", mode: "cors", credentials: "omit" });
      const upstream = answer.headers.get("x-geosim");
      if (!answer.ok) return { outcome: "failed", why: `status ${answer.status}`, upstream };
      if (!(answer.headers.get("content-type") ?? "").startsWith("image/")) {
        const text = await answer.text();
        return { outcome: "wrong", why: /OutOfMemory/.test(text) ? "200 with OutOfMemoryError" : /LayerNotDefined|Could not find layer/.test(text) ? "200 with LayerNotDefined" : "200 without an image", upstream };
      }
      return { outcome: "good", upstream, blob: await answer.blob() };
    } catch {
      return { outcome: "failed", why: stop.signal.aborted ? "no answer in 8 s" : "no connection" };
    } finally {
      clearTimeout(timer);
    }
  }

  draw({ element }, outcome, why, upstream, blob) {
    element.classList.toggle("is-faulty", outcome !== "good");
    element.dataset.outcome = outcome;
    element.dataset.upstream = upstream ?? "";
    if (outcome === "good") {
      const url = URL.createObjectURL(blob), old = element.image.src;
      element.image.onload = () => { if (old.startsWith("blob:")) URL.revokeObjectURL(old); };
      element.image.src = url;
    } else {
      element.fault.textContent = outcome === "wrong" ? "wrong" : "failed";
      element.fault.appendChild(document.createElement("small")).textContent = `${upstream ? `${upstream}: ` : ""}${why}`;
    }
  }

  // One of the visible tiles at a time, the one that was fetched least often.
  refresh() {
    if (!this.way || document.hidden || this.refreshing >= MAX_REFRESHES) return;
    const bounds = this.map.getPixelBounds(), zoom = this.map.getZoom();
    const isVisible = ({ coords: { x, y, z } }) => z === zoom && bounds.intersects(L.bounds([x * 256, y * 256], [x * 256 + 256, y * 256 + 256]));
    const visible = [...this.shown].filter(isVisible);
    if (!visible.length) return;
    const oldest = visible.reduce((a, b) => (b.refreshed ?? 0) < (a.refreshed ?? 0) ? b : a);
    oldest.refreshed = performance.now();
    this.refreshing++;
    this.fetch(oldest).finally(() => this.refreshing--);
  }
}
