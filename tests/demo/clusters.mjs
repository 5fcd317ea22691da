// Drives the overview page of several clusters: two clusters of a demo's GeoServers behind one front file, a refused file, a cluster
// that serves nothing, a geofront that is killed, both themes and a phone. Usage: node tests/demo/clusters.mjs path/to/geofront
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { pause, startBrowser } from "../../scripts/chromium.mjs";

const [binary, pictures] = process.argv.slice(2);
const folder = fs.mkdtempSync(path.join(os.tmpdir(), "geofront-clusters-"));
const file = name => path.join(folder, name);
const write = (name, text) => fs.writeFileSync(file(name), text);

// The GeoServers of both clusters.
async function startDemo() {
  const any = "127.0.0.1:0", demo = spawn(binary, ["demo", "--replicas", "4", "--listen", any, "--admin", any, "--map", any], { stdio: ["ignore", "pipe", "inherit"] });
  let text = "";
  for await (const part of demo.stdout) {
    text += part;
    const at = /status page\s+http:\/\/([\d.:]+)/.exec(text);
    if (at && /Ready after/.test(text)) return { demo, admin: at[1] };
  }
  throw new Error(`the demo ended:\n${text}`);
}

// Serves the front file; resolves with the admin address.
async function startFront(admin = "127.0.0.1:0") {
  write("geofront.toml", `listen = "127.0.0.1:0"\nadmin = "${admin}"\n[log]\naccess = "off"\n[clusters.city]\nfile = "city.toml"\nhosts = ["city.example.org", "*.city.example.org"]\n[clusters.region]\nfile = "region.toml"\npath = "/region/geoserver"\n`);
  fs.rmSync(file("ports.json"), { force: true });
  const front = spawn(binary, ["run", "--config", file("geofront.toml"), "--ports-file", file("ports.json")], { stdio: "ignore" });
  const ended = new Promise(done => front.on("exit", done));
  for (const end = Date.now() + 60000; !fs.existsSync(file("ports.json"));) {
    assert(Date.now() < end && front.exitCode === null, "geofront serves");
    await pause(50);
  }
  return { front, ended, admin: JSON.parse(fs.readFileSync(file("ports.json"))).admin };
}

const order = async (admin, what, body) => (await fetch(`http://${admin}${what}`, { method: "POST", headers: { "X-Geofront": "test" }, body: JSON.stringify(body) })).status;
const cell = (name, at) => `document.querySelector('[data-cluster="${name}"]')?.cells[${at}].textContent`;
const shows = (page, what) => page.until(`the verdict is ${what}`, `document.querySelector("#verdict strong").textContent.includes(${JSON.stringify(what)})`);
const picture = async (page, name) => { if (pictures) await page.photograph(path.join(pictures, `${name}.png`), 2000); };

const running = [], browser = await startBrowser();
try {
  const { demo, admin } = await startDemo();
  running.push(demo);
  const { upstreams } = await (await fetch(`http://${admin}/api/status`)).json();
  const upstream = name => { const { url, role } = upstreams.find(u => u.name === name); return `[upstreams.${name}]\nurl = "${url}"\nrole = "${role}"\n`; };
  const health = `[health]\ninterval = "200ms"\nprobe_layer = "geor:public_layer"\n`;
  const city = ["main", "slave1", "slave2"].map(upstream).join("") + health;
  write("city.toml", city);
  write("region.toml", ["main", "slave3", "slave4"].map(upstream).join("") + health);
  let front = await startFront();
  running.push(front.front);
  const url = `http://${front.admin}/`;

  // Both serve, each with its place and its upstreams.
  const page = await browser.open(url, { width: 1200, height: 800 });
  await shows(page, "All clusters serve requests.");
  for (const [name, hosts, where] of [["city", "city.example.org, *.city.example.org", "/"], ["region", "*", "/region/geoserver"]]) {
    await page.until(`${name} is well`, `${cell(name, 1)} === "well" && ${cell(name, 4)} === "3 of 3"`);
    assert.deepEqual(await page.evaluate(`[${cell(name, 2)}, ${cell(name, 3)}]`), [hosts, where]);
  }
  assert.match(await page.evaluate(`document.querySelector("#facts").textContent`), /^version \S+, 2 clusters$/);
  await picture(page, "overview");

  // A refused file of one cluster is shown with its line, until it is mended.
  write("city.toml", city + "[limits]\nqueue = -1\n");
  await shows(page, "A configuration was refused.");
  await page.until("the reason is shown", `/cluster city:[^]*limits.queue[^]*city.toml:\\d+:9/.test(document.querySelector("#refused pre").textContent)`);
  assert.equal(await page.evaluate(cell("city", 1)), "needs attention");
  assert.equal(await page.evaluate(cell("region", 1)), "well");
  await picture(page, "refused");
  write("city.toml", city);
  await page.until("the reason is gone", `!document.querySelector("#refused").checkVisibility()`);
  await shows(page, "All clusters serve requests.");

  // A cluster that serves nothing.
  for (const mode of ["maintenance", "ready"]) {
    for (const name of ["slave3", "slave4", "main"]) assert.equal(await order(front.admin, `/clusters/region/api/upstreams/${name}/mode`, { mode, force: true }), 200);
    if (mode === "ready") break;
    await shows(page, "No request is served by: region.");
    await page.until("its row says so", `${cell("region", 1)} === "no upstream is up and ready" && ${cell("region", 4)} === "0 of 3"`);
    assert.match(await page.evaluate("document.title"), /No request is served by: region/);
  }
  await shows(page, "All clusters serve requests.");

  // The link leads to the cluster's own page.
  const own = await browser.open(await page.evaluate(`document.querySelector('[data-cluster="city"] a').href`), { width: 1200, height: 800 });
  await own.until("its page shows its upstreams", `/both replicas serve/.test(document.querySelector("#verdict").textContent) && document.querySelectorAll("#upstreams tr").length === 3`);

  // On a phone, in the dark: each value has its label, and nothing is wider than the window.
  const phone = await browser.open(url, { width: 360, height: 780, dark: true });
  await shows(phone, "All clusters serve requests.");
  const wide = `[document.documentElement, ...document.querySelectorAll("body *")].filter(e => e.checkVisibility() && !e.closest("svg") && e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 80))`;
  assert.deepEqual(await phone.evaluate(wide), [], "the page fits a phone");
  assert.deepEqual(await phone.evaluate(`[...document.querySelectorAll('[data-cluster="city"] td')].map(td => getComputedStyle(td, "::before").content).filter(label => label !== "none")`), ['"Hosts"', '"Path"', '"Upstreams that serve"', '"In flight"', '"Waiting"']);
  await picture(phone, "phone");

  // Everything that can be operated has a name.
  await page.send("Accessibility.enable");
  const { nodes } = await page.send("Accessibility.getFullAXTree");
  const named = nodes.filter(node => !node.ignored).map(node => ({ role: node.role?.value, name: node.name?.value?.trim() ?? "" }));
  assert.deepEqual(named.filter(({ role, name }) => ["link", "button", "columnheader"].includes(role) && !name), []);
  for (const name of ["city", "region"]) assert(named.some(node => node.role === "link" && node.name === name), `there is a link ${name}`);

  // Killed, and started again at the same address.
  await page.send("Page.bringToFront");
  front.front.kill("SIGKILL");
  await front.ended;
  await shows(page, "geofront does not answer.");
  front = await startFront(front.admin);
  running.push(front.front);
  await shows(page, "All clusters serve requests.");

  const isLost = problem => /ERR_CONNECTION_(REFUSED|RESET|CLOSED|ABORTED)|ERR_SOCKET_NOT_CONNECTED|ERR_EMPTY_RESPONSE|ERR_INCOMPLETE_CHUNKED/.test(problem);
  for (const each of [page, own, phone]) {
    assert.deepEqual(each.problems.filter(problem => !isLost(problem)), [], "no script fails and the content policy refuses nothing");
    assert.deepEqual(each.requests.filter(request => !request.startsWith("data:") && !request.startsWith(url)), [], "nothing is loaded from elsewhere");
  }
} finally {
  await browser.close();
  running.forEach(child => child.kill("SIGKILL"));
  fs.rmSync(folder, { recursive: true, force: true });
}
