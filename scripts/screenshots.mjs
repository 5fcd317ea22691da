// Makes docs/images/*.png: runs the demo and photographs its map page, then its status page under a bounded load, in headless Chromium.
// Usage: node scripts/screenshots.mjs path/to/geofront [--only map] [seconds of load before the first picture of the status page]
import { spawn } from "node:child_process";
import fs from "node:fs";
import http from "node:http";
import path from "node:path";
import { parseArgs } from "node:util";
import { pause, startBrowser } from "./chromium.mjs";

const { values: { only }, positionals: [binary, warmup = "290"] } = parseArgs({ options: { only: { type: "string" } }, allowPositionals: true });
const images = path.join(import.meta.dirname, "..", "docs", "images");

function ask(url, method = "GET") {
  return new Promise((done, fail) => http.request(url, { method, headers: { "X-Geofront": "screenshots" } }, answer => {
    let text = "";
    answer.on("data", part => text += part).on("end", () => done(text));
  }).on("error", fail).end());
}

// The demo on ports that the kernel chooses; it prints them.
async function startDemo() {
  const demo = spawn(binary, ["demo", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--map", "127.0.0.1:0"], { stdio: ["ignore", "pipe", "inherit"] });
  let text = "";
  for await (const part of demo.stdout) {
    text += part;
    const front = /clients come in at\s+http:\/\/([\d.:]+)/.exec(text), admin = /status page\s+http:\/\/([\d.:]+)/.exec(text), map = /Ready .* open http:\/\/([\d.:]+)/.exec(text);
    if (front && admin && map) return { demo, front: front[1], admin: admin[1], map: map[1] };
  }
  throw new Error(`the demo ended:\n${text}`);
}

// Some forty requests a second, more and less by turns, until `stop` is called.
function load(front) {
  const [host, port] = front.split(":"), agent = new http.Agent({ keepAlive: true, maxSockets: 64 });
  const any = most => Math.floor(Math.random() * most);
  const map = `/geoserver/wms?service=WMS&version=1.1.1&styles=&format=image/png&srs=EPSG:4326&layers=geor:public_layer&width=400&height=200`;
  const kinds = [
    [.55, () => `/geoserver/gwc/service/wmts?service=WMTS&request=GetTile&version=1.0.0&layer=geor:public_layer&style=&tilematrixset=EPSG:900913&tilematrix=EPSG:900913:10&tilerow=${any(900)}&tilecol=${any(900)}&format=image/png`],
    [.3, () => `${map}&request=GetMap&bbox=${-any(180)},-90,180,90`],
    [.07, () => `${map}&request=GetFeatureInfo&bbox=-180,-90,180,90&query_layers=geor:public_layer&x=${any(400)}&y=${any(200)}`],
    [.03, () => `/geoserver/wms?service=WMS&request=GetCapabilities&n=${any(9999)}`],
    [.05, () => `/geoserver/wfs?service=WFS&version=2.0.0&request=GetFeature&typeNames=geor:public_layer&count=${any(900)}`],
  ];
  const send = () => {
    let share = Math.random();
    const [, target] = kinds.find(([of]) => (share -= of) < 0) ?? kinds[0];
    http.get({ host, port, path: target(), agent }, answer => answer.resume()).on("error", () => {});
  };
  const beat = setInterval(() => {
    const wave = 1 + .5 * Math.sin(Date.now() / 23000) + .2 * Math.sin(Date.now() / 7000);
    for (let n = 0; n < 5; n++) if (Math.random() < .4 * wave) send();
  }, 50);
  return () => { clearInterval(beat); agent.destroy(); };
}

async function photograph(browser, admin, name, { width = 1400, dark = false } = {}) {
  const page = await browser.open(`http://${admin}/`, { width, dark });
  await pause(5000);
  await page.photograph(path.join(images, `${name}.png`), width < 500 ? 1900 : 1500);
  await page.close();
}

// The map while one replica is out of memory, after some seconds of plain round robin.
async function photographMap(browser, map) {
  const page = await browser.open(`http://${map}/`, { width: 1600, height: 1000 });
  const press = selector => page.evaluate(`document.querySelector(${JSON.stringify(selector)}).click()`);
  await pause(12000);
  await press("#publish");
  await pause(20000);
  await press("[data-name=slave1] [data-order=poison]");
  await press("header [data-way=round-robin]");
  await pause(9000);
  await press("header [data-way=geofront]");
  await pause(22000);
  await page.photograph(path.join(images, "demo-map.png"));
  await press("#revive");
  await page.close();
}

const { demo, front, admin, map } = await startDemo();
const browser = await startBrowser();
let stopLoad = () => {};
try {
  await photographMap(browser, map);
  if (only !== "map") await photographStatus();
} finally {
  stopLoad();
  await browser.close();
  demo.kill("SIGINT");
}

async function photographStatus() {
  stopLoad = load(front);
  const { upstreams } = JSON.parse(await ask(`http://${admin}/api/status`));
  fs.mkdirSync(images, { recursive: true });
  await pause(warmup * 1000);
  await photograph(browser, admin, "status-page");
  await photograph(browser, admin, "status-page-phone", { width: 390 });
  await ask(`${upstreams[1].url}/geosim/fault?kind=oom`, "POST");
  await pause(8000);
  await ask(`http://${admin}/api/catalog/sync`, "POST");
  await photograph(browser, admin, "status-page-dark", { dark: true });
}
