// Makes docs/images/*.png: runs the demo under a bounded load and photographs its status page in headless Chromium, driven over a pipe
// (no library). Usage: node scripts/screenshots.mjs path/to/geofront [seconds of load before the first picture]
import { spawn } from "node:child_process";
import fs from "node:fs";
import http from "node:http";
import os from "node:os";
import path from "node:path";

const [binary, warmup = "290"] = process.argv.slice(2);
const images = path.join(import.meta.dirname, "..", "docs", "images");
const pause = milliseconds => new Promise(done => setTimeout(done, milliseconds));

function ask(url, method = "GET") {
  return new Promise((done, fail) => http.request(url, { method, headers: { "X-Geofront": "screenshots" } }, answer => {
    let text = "";
    answer.on("data", part => text += part).on("end", () => done(text));
  }).on("error", fail).end());
}

// The demo on ports that the kernel chooses; it prints them.
async function startDemo() {
  const demo = spawn(binary, ["demo", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"], { stdio: ["ignore", "pipe", "inherit"] });
  let text = "";
  for await (const part of demo.stdout) {
    text += part;
    const front = /clients come in at\s+http:\/\/([\d.:]+)/.exec(text), admin = /status page\s+http:\/\/([\d.:]+)/.exec(text);
    if (front && admin) return { demo, front: front[1], admin: admin[1] };
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

async function startBrowser() {
  const profile = fs.mkdtempSync(path.join(os.tmpdir(), "geofront-screenshots-"));
  const flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run", "--remote-debugging-pipe", `--user-data-dir=${profile}`, "about:blank"];
  const browser = spawn("chromium", flags, { stdio: ["ignore", "ignore", "ignore", "pipe", "pipe"] });
  const [, , , commands, answers] = browser.stdio, waiting = new Map();
  let number = 0, text = "";
  answers.on("data", part => {
    const whole = (text + part).split("\0");
    text = whole.pop();
    for (const message of whole.map(JSON.parse)) waiting.get(message.id)?.(message);
  });
  const send = (method, params = {}, sessionId) => new Promise((done, fail) => {
    waiting.set(++number, message => message.error ? fail(new Error(`${method}: ${message.error.message}`)) : done(message.result));
    commands.write(`${JSON.stringify({ id: number, method, params, sessionId })}\0`);
  });
  const close = async () => {
    browser.kill();
    await new Promise(done => browser.on("exit", done));
    fs.rmSync(profile, { recursive: true, force: true, maxRetries: 5 });
  };
  return { send, close };
}

async function photograph(browser, admin, name, { width = 1400, dark = false } = {}) {
  const { targetId } = await browser.send("Target.createTarget", { url: "about:blank" });
  const { sessionId } = await browser.send("Target.attachToTarget", { targetId, flatten: true });
  const send = (method, params) => browser.send(method, params, sessionId);
  await send("Emulation.setDeviceMetricsOverride", { width, height: 900, deviceScaleFactor: 1, mobile: width < 500 });
  await send("Emulation.setEmulatedMedia", { features: [{ name: "prefers-color-scheme", value: dark ? "dark" : "light" }] });
  await send("Page.navigate", { url: `http://${admin}/` });
  await pause(5000);
  const { cssContentSize } = await send("Page.getLayoutMetrics");
  const clip = { x: 0, y: 0, width, height: Math.min(cssContentSize.height, width < 500 ? 1900 : 1500), scale: 1 };
  const { data } = await send("Page.captureScreenshot", { format: "png", captureBeyondViewport: true, clip });
  fs.writeFileSync(path.join(images, `${name}.png`), Buffer.from(data, "base64"));
  await browser.send("Target.closeTarget", { targetId });
}

const { demo, front, admin } = await startDemo();
const stopLoad = load(front), browser = await startBrowser();
try {
  const { upstreams } = JSON.parse(await ask(`http://${admin}/api/status`));
  for (const { url } of upstreams) await ask(`${url}/geosim/speed?factor=0.01`, "POST");
  fs.mkdirSync(images, { recursive: true });
  await pause(warmup * 1000);
  await photograph(browser, admin, "status-page");
  await photograph(browser, admin, "status-page-phone", { width: 390 });
  await ask(`${upstreams[1].url}/geosim/fault?kind=oom`, "POST");
  await pause(8000);
  await ask(`http://${admin}/api/catalog/sync`, "POST");
  await photograph(browser, admin, "status-page-dark", { dark: true });
} finally {
  stopLoad();
  await browser.close();
  demo.kill("SIGINT");
}
