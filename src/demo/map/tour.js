// The guided tour: five steps, each with an action and with what came of it, counted by the page.
"use strict";

const STEPS = [
  {
    title: "The colour of a tile names the replica that drew it",
    text: ["Three simulated GeoServers stand behind geofront. Each has a colour, and the tiles of this map come fresh every few seconds. Drag and zoom: all replicas draw.",
      "Tiles that GeoWebCache renders together, four by four, come from one replica, so that it renders them once. The page beside the map is geofront's status page."],
    label: "Show the whole world",
    act: demo => demo.map.setView([25, 0], 2),
  },
  {
    title: "Poison a replica",
    text: ["A GeoServer out of memory answers at once, with status 200 and an exception inside. A balancer that counts connections sends it ever more requests.",
      "geofront reads the answer: it gives the request to another replica and takes the poisoned one out. Its colour fades from the map. Compare with plain round robin."],
    label: "Poison slave1",
    act: demo => demo.order("/demo/replicas/slave1/poison", "slave1 answers 200 with OutOfMemoryError."),
  },
  {
    title: "Crash one, let one hang",
    text: ["One process dies, and one accepts requests and never answers. One healthy replica is left, and the main helps.",
      "Requests without an answer yet are sent to another upstream. No tile of the map fails."],
    label: "Crash slave2, hang slave3",
    act: async demo => {
      await demo.order("/demo/revive", "");
      await demo.order("/demo/replicas/slave2/crash", "");
      await demo.order("/demo/replicas/slave3/hang", "slave2 has crashed, and slave3 hangs.");
    },
  },
  {
    title: "Publish a layer",
    text: ["An administrator publishes a layer on the main. Replicas know it after a reload, during which a GeoServer answers wrongly.",
      "geofront reloads one replica after the other while it serves nothing. The new layer appears as lines over the land, and the map has no gap meanwhile. See the roll on the status page."],
    label: "Publish a layer",
    act: async demo => {
      await demo.order("/demo/revive", "");
      await demo.publish();
    },
  },
  {
    title: "Send a heavy burst",
    text: ["A hundred and fifty exports of a second of work each arrive at once. Sent straight to the GeoServers, they slow every tile down.",
      "geofront holds them in its queue and lets some through at a time. Watch the p95 of the tiles. Then press “plain round robin” above and send the burst again."],
    label: "Send the burst",
    act: async demo => {
      await demo.order("/demo/revive", "");
      await demo.burst();
    },
  },
];

class Tour {
  constructor(demo) {
    this.demo = demo;
    this.panel = document.querySelector("#tour");
    const on = (id, act) => document.querySelector(`#${id}`).addEventListener("click", act);
    on("start-tour", () => this.go(0));
    on("tour-do", () => this.act());
    on("tour-back", () => this.go(this.at - 1));
    on("tour-next", () => this.at + 1 < STEPS.length ? this.go(this.at + 1) : this.end());
    on("tour-end", () => this.end());
    this.panel.addEventListener("keydown", event => { if (event.key === "Escape") this.end(); });
    setInterval(() => this.showResult(), 500);
  }

  go(at) {
    this.at = at;
    this.since = null;
    const { title, text, label } = STEPS[at], part = id => document.querySelector(`#tour-${id}`);
    part("count").textContent = `Step ${at + 1} of ${STEPS.length}`;
    part("title").textContent = title;
    part("text").replaceChildren(...text.map(sentence => Object.assign(document.createElement("p"), { textContent: sentence })));
    part("do").textContent = label;
    part("back").disabled = at === 0;
    part("next").textContent = at + 1 < STEPS.length ? "Next" : "Finish";
    part("end").hidden = at + 1 === STEPS.length;
    part("result").textContent = "";
    this.panel.hidden = false;
    this.panel.focus();
  }

  async act() {
    this.since = performance.now();
    this.way = this.demo.way;
    await STEPS[this.at].act(this.demo);
  }

  // Counts what came of the action so far, through the balancer in use.
  showResult() {
    if (this.panel.hidden || !this.since) return;
    if (this.way !== this.demo.way) [this.way, this.since] = [this.demo.way, performance.now()];
    const { figures } = this.demo, samples = figures.after(this.way, this.since);
    if (!samples.length) return;
    const count = outcome => samples.filter(sample => sample.outcome === outcome).length;
    const [wrong, failed] = [count("wrong"), count("failed")], p95 = Math.round(figures.quantile(samples, .95));
    const through = this.way === "geofront" ? "geofront" : "plain round robin", result = document.querySelector("#tour-result");
    result.textContent = `Through ${through} since then: ${samples.length} tiles, ${wrong ? `${wrong} wrong` : "none wrong"}, ${failed ? `${failed} failed` : "none failed"}, p95 ${p95} ms.`;
    result.classList.toggle("is-bad", wrong + failed > 0 || p95 > 1000);
  }

  end() {
    this.panel.hidden = true;
    this.demo.order("/demo/revive", "All replicas are well.");
    document.querySelector("#start-tour").focus();
  }
}
