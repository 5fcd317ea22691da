// Drives the map page of the demo. Usage: node tests/demo/page.mjs path/to/geofront [folder for pictures]
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import path from "node:path";
import { startBrowser } from "../../scripts/chromium.mjs";

const [binary, pictures] = process.argv.slice(2);

async function startDemo() {
  const demo = spawn(binary, ["demo", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--map", "127.0.0.1:0"], { stdio: ["ignore", "pipe", "inherit"] });
  let text = "";
  for await (const part of demo.stdout) {
    text += part;
    const ready = /Ready after ([\d.]+) s: open (http:\S+)/.exec(text);
    if (ready) return { demo, seconds: Number(ready[1]), url: ready[2] };
  }
  throw new Error(`the demo ended:\n${text}`);
}

const { demo, seconds, url } = await startDemo();
const browser = await startBrowser();
try {
  assert(seconds < 10, `the demo was ready after ${seconds} s`);
  const page = await browser.open(url, { width: 1600, height: 1000 });
  const { evaluate, until } = page;
  const click = selector => until(`${selector} can be pressed`, `(() => { const button = document.querySelector(${JSON.stringify(selector)}); if (!button || button.disabled) return false; button.click(); return true; })()`);
  const total = (way, what) => evaluate(`demo.figures.totals.get("${way}").${what}`);
  const picture = async name => { if (pictures) await page.photograph(path.join(pictures, `${name}.png`)); };
  const state = name => `document.querySelector("[data-name=${name}] .state").textContent`;
  const more = (way, what, count) => async () => {
    const before = await total(way, what);
    return until(`${count} more ${what} through ${way}`, `demo.figures.totals.get("${way}").${what} >= ${before + count}`, 60000);
  };

  // The map, drawn by all replicas, and the status page beside it.
  await until("the map is covered with tiles", `document.querySelectorAll(".tile[data-outcome=good] img").length >= 4`);
  await until("all replicas drew", `new Set(demo.figures.samples.map(sample => sample.upstream)).size >= 3`, 60000);
  await until("the status page shows the cluster", `/all 3 replicas serve/.test(document.querySelector("iframe").contentDocument.querySelector("#verdict").textContent)`);
  await until("the times are shown", `/ms/.test(document.querySelector("#figures tr.is-now td").textContent)`);
  await picture("start");

  // Each order, by its button; no tile fails through geofront.
  for (const [order, name, shown] of [["slow", "slave1", "slow"], ["poison", "slave2", "poisoned"], ["crash", "slave3", "crashed"]]) {
    await click(`[data-name=${name}] [data-order=${order}]`);
    await until(`${name} is ${shown}`, `${state(name)} === "${shown}"`);
    await more("geofront", "tiles", 15)();
    await picture(order);
    await click(`[data-name=${name}] [data-order=revive]`);
    await until(`${name} is well`, `${state(name)} === "well"`);
  }
  await click("[data-name=slave1] [data-order=hang]");
  await until("slave1 hangs", `${state("slave1")} === "hanging"`);
  await click("#revive");
  await until("slave1 is well", `${state("slave1")} === "well"`);

  // A layer appears; a burst is served.
  await click("#publish");
  await until("the layer is on the map", `document.querySelectorAll(".overlay .tile[data-outcome=good]").length >= 4`, 60000);
  await click("#burst");
  await until("the burst runs", "demo.state.burst.running && demo.state.burst.served > 0", 60000);
  await picture("burst");
  assert.equal(await evaluate(`document.querySelector("#burst").disabled`), true, "a second burst waits for the end of the first");
  assert.deepEqual([await total("geofront", "wrong"), await total("geofront", "failed")], [0, 0], "no tile was wrong or failed through geofront");

  // The same with plain round robin: the visitor sees what is hidden otherwise.
  await click("header [data-way=round-robin]");
  await more("round-robin", "tiles", 10)();
  await click("[data-name=slave1] [data-order=poison]");
  await more("round-robin", "wrong", 2)();
  await until("a wrong tile is marked", `/slave1: 200 with OutOfMemoryError/.test(document.querySelector(".tile.is-faulty .fault").textContent)`);
  await picture("round-robin");
  await click("[data-name=slave2] [data-order=crash]");
  await more("round-robin", "failed", 2)();
  await click("header [data-way=geofront]");
  await click("#revive");

  // The tour by keyboard, from the first step to the last.
  await evaluate(`document.querySelector("#start-tour").focus()`);
  await page.key("Enter");
  const titles = [];
  for (let step = 1; step <= 5; step++) {
    await until(`step ${step}`, `document.querySelector("#tour-count").textContent === "Step ${step} of 5"`);
    titles.push(await evaluate(`document.querySelector("#tour-title").textContent`));
    if (step === 2) {
      await evaluate(`document.querySelector("#tour-do").focus()`);
      await page.key("Enter");
      const result = () => evaluate(`document.querySelector("#tour-result").textContent`);
      await until("the step shows its result", `/Through geofront since then: \\d+ tiles, none wrong, none failed/.test(document.querySelector("#tour-result").textContent)`)
        .catch(async error => { throw new Error(`${error.message}: ${await result()}`); });
      await picture("tour");
    }
    await evaluate(`document.querySelector("#tour-next").focus()`);
    await page.key("Enter");
  }
  assert.equal(new Set(titles).size, 5, titles.join("\n"));
  assert.equal(await evaluate(`document.querySelector("#tour").hidden`), true, "the tour ends after its last step");

  // What fails through plain round robin is what it shows; a crash within a head even looks like an answer without CORS.
  const naive = await evaluate("demo.state.naive"), known = problem => problem.includes(`${naive}/`);
  assert.deepEqual(page.problems.filter(problem => !known(problem)), [], "no script fails and the content policy refuses nothing");

  // On a phone, in the dark: nothing is wider than the window.
  const phone = await browser.open(url, { width: 390, height: 844, dark: true });
  await phone.until("the map is covered with tiles", `document.querySelectorAll(".tile[data-outcome=good] img").length >= 2`, 60000);
  assert.equal(await phone.evaluate(`(() => { for (const cell of document.querySelectorAll("#figures td")) cell.textContent = "100000 ms"; return document.documentElement.scrollWidth; })()`), 390, "the page fits a phone, whatever the figures are");
  if (pictures) await phone.photograph(path.join(pictures, "phone.png"), 2200);
} finally {
  await browser.close();
  demo.kill("SIGINT");
}
