// The map page of the demo: the map, the controls over the simulation, and what both show.
"use strict";

const STATE_EVERY = 700;
const ORDERS = [["slow", "Slow"], ["hang", "Hang"], ["crash", "Crash"], ["poison", "Poison"], ["revive", "Revive"]];
const ORDERED = { slow: "slow", hang: "hanging", crash: "crashed", poison: "poisoned" };
const HINTS = {
  slow: "works at a 25th of its speed", hang: "reads requests and never answers", crash: "resets its connections, then refuses them",
  poison: "answers 200 with OutOfMemoryError", revive: "is well again",
};
const one = selector => document.querySelector(selector);

class Demo {
  constructor() {
    this.map = L.map("map", { minZoom: 1, maxZoom: 7, zoomSnap: 1, maxBounds: [[-88, -200], [88, 200]], maxBoundsViscosity: .8 }).setView([38, 8], 3);
    this.map.attributionControl.setPrefix('<a href="https://leafletjs.com" target="_blank" rel="noreferrer">Leaflet</a>').addAttribution("coastlines: Natural Earth");
    this.figures = new Figures(one("#times"), document.querySelectorAll("#figures tbody tr"));
    this.tiles = new Tiles(this.map, sample => this.figures.add(sample));
    this.way = "geofront";
    this.cards = new Map();
    new ResizeObserver(() => this.map.invalidateSize()).observe(one("#map"));
  }

  async start() {
    for (const button of document.querySelectorAll("header [data-way]")) button.addEventListener("click", () => this.through(button.dataset.way));
    one("#publish").addEventListener("click", () => this.publish());
    one("#burst").addEventListener("click", () => this.burst());
    one("#revive").addEventListener("click", () => this.order("/demo/revive", "All replicas are well."));
    one("#toggle-status").addEventListener("click", event => {
      const isShown = !one("main").classList.toggle("is-alone");
      event.currentTarget.setAttribute("aria-pressed", isShown);
    });
    await this.look();
    this.through(this.way);
    setInterval(() => this.look(), STATE_EVERY);
    new Tour(this);
  }

  through(way) {
    this.way = way;
    for (const button of document.querySelectorAll("header [data-way]")) button.setAttribute("aria-pressed", button.dataset.way === way);
    this.figures.through(way);
    this.tiles.through(way, way === "geofront" ? this.state.front : this.state.naive);
  }

  async look() {
    try {
      this.state = await (await fetch("/demo/state")).json();
    } catch {
      return this.say("The demo has ended: start it again with make demo.", true);
    }
    const { upstreams, layers, burst } = this.state;
    if (layers.length) this.tiles.show(layers.at(-1));
    for (const { name, tint } of upstreams) this.figures.tints.set(name, tint);
    upstreams.filter(upstream => upstream.is_replica).forEach(upstream => this.showReplica(upstream));
    one("#burst").disabled = burst.running;
    if (burst.running) this.say(`Heavy burst: ${burst.served} of ${burst.requests} exports served${burst.failed ? `, ${burst.failed} failed` : ""}.`);
    else if (this.wasBursting) this.say(`The burst is over: ${burst.served} of ${burst.requests} exports served${burst.failed ? `, ${burst.failed} failed` : ""}.`, burst.failed > 0);
    this.wasBursting = burst.running;
  }

  showReplica({ name, tint, state }) {
    let card = this.cards.get(name);
    if (!card) {
      card = document.createElement("section");
      card.className = "card replica";
      card.dataset.name = name;
      card.setAttribute("aria-label", name);
      card.style.setProperty("--tint", tint);
      card.innerHTML = '<div class="row"><b></b><span class="state" role="status"></span><span class="grow"></span><span class="percent small soft"></span></div><div class="share"><i></i></div><div class="orders"></div>';
      card.querySelector("b").textContent = name;
      for (const [order, label] of ORDERS) {
        const button = card.querySelector(".orders").appendChild(document.createElement("button"));
        button.textContent = label;
        button.dataset.order = order;
        button.title = `${name} ${HINTS[order]}`;
        button.addEventListener("click", () => this.order(`/demo/replicas/${name}/${order}`, `${name} ${HINTS[order]}.`));
      }
      this.cards.set(name, one("#replicas").appendChild(card));
    }
    const share = this.figures.shares().get(name) ?? 0;
    card.classList.toggle("is-ill", state !== "well");
    card.querySelector(".state").textContent = state;
    card.querySelector(".percent").textContent = `${Math.round(share * 100)} % of tiles`;
    card.querySelector(".share i").style.width = `${share * 100}%`;
    for (const button of card.querySelectorAll("[data-order]")) {
      if (button.dataset.order !== "revive") button.setAttribute("aria-pressed", ORDERED[button.dataset.order] === state);
      button.disabled = button.dataset.order === "revive" ? state === "well" : state === "crashed";
    }
  }

  // Sends an order; returns the answer, or null if it was refused.
  async order(path, sentence) {
    const sent = await fetch(path, { method: "POST", headers: { "X-Geofront": "demo" } }).catch(() => null);
    const answer = await sent?.json().catch(() => null);
    this.say(sent?.ok ? sentence : answer?.error ?? "The demo does not answer.", !sent?.ok);
    await this.look();
    return sent?.ok ? answer : null;
  }

  async publish() {
    const published = await this.order("/demo/publish", "");
    if (published) this.say(`${published.layer} is published on the main. The replicas are reloaded one after the other.`);
    return published;
  }

  burst() {
    return this.order(`/demo/burst?through=${this.way}`, "");
  }

  say(sentence, isBad = false) {
    one("#notice").textContent = sentence;
    one("#notice").classList.toggle("is-bad", isBad);
  }
}

const demo = new Demo();
demo.start();
