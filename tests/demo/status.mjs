// Drives the status page: every button, both themes, a phone, the keyboard, the accessibility tree, many upstreams and events, and
// a geofront that is killed. Usage: node tests/demo/status.mjs path/to/geofront [folder for pictures]
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import net from "node:net";
import path from "node:path";
import { startBrowser } from "../../scripts/chromium.mjs";

const [binary, pictures] = process.argv.slice(2);

async function startDemo(replicas, admin = "127.0.0.1:0") {
  const demo = spawn(binary, ["demo", "--replicas", replicas, "--listen", "127.0.0.1:0", "--admin", admin, "--map", "127.0.0.1:0"], { stdio: ["ignore", "pipe", "inherit"] });
  let text = "";
  for await (const part of demo.stdout) {
    text += part;
    const front = /clients come in at\s+http:\/\/([\d.:]+)/.exec(text), at = /status page\s+http:\/\/([\d.:]+)/.exec(text);
    if (front && at && /Ready after/.test(text)) return { demo, front: front[1], admin: at[1], ended: new Promise(done => demo.on("exit", done)) };
  }
  throw new Error(`the demo ended:\n${text}`);
}

const order = async (admin, what, body) => (await fetch(`http://${admin}${what}`, { method: "POST", headers: { "X-Geofront": "test" }, body: body && JSON.stringify(body) })).status;
const status = async admin => (await fetch(`http://${admin}/api/status`)).json();

// What the tests do with a page, by its elements.
function handles(page) {
  const { evaluate, until } = page, quoted = JSON.stringify;
  const click = selector => until(`${selector} can be pressed`, `(() => { const found = document.querySelector(${quoted(selector)}); if (!found || found.disabled || !found.checkVisibility()) return false; found.click(); return true; })()`);
  const shown = (selector, text) => until(`${selector} shows ${text}`, `(() => { const found = document.querySelector(${quoted(selector)}); return Boolean(found?.checkVisibility()) && found.textContent.includes(${quoted(text)}); })()`);
  const gone = selector => until(`${selector} is hidden`, `!document.querySelector(${quoted(selector)})?.checkVisibility()`);
  const answer = async (title, yes) => { await shown("#ask h3", title); await click(`#ask [value=${yes ? "yes" : "no"}]`); await gone("#ask"); };
  const mode = (name, mode) => `[aria-label="${mode} ${name}"]`;
  const picture = async name => { if (pictures) await page.photograph(path.join(pictures, `${name}.png`), 4000); };
  const isNarrowEnough = async what => assert.deepEqual(await evaluate("[...document.querySelectorAll('body *')].filter(e => e.checkVisibility() && !e.closest('.hidden, .skip, .scroll, svg') && e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 80)).slice(0, 3)"), [], `${what}: nothing is wider than the window`);
  return { click, shown, gone, answer, mode, picture, isNarrowEnough };
}

// Every line of a curve is drawn with numbers only, whatever is shown.
async function drawsNumbers({ evaluate }) {
  const wrong = await evaluate(`[...Array(4000).keys()].map(n => (n + 1) / 100).concat([1e-9, 9.99e5, 1e12]).filter(highest => !(axisEnd(highest) >= highest))`);
  assert.deepEqual(wrong, [], "an axis has an end for every value");
  assert.equal(await evaluate(`[...document.querySelectorAll("svg *")].filter(e => [...e.attributes].some(a => /NaN|undefined|Infinity/.test(a.value))).length`), 0, "no attribute of a curve is NaN");
}

// Text has the contrast that WCAG AA requires, in the theme that is shown.
async function isReadable({ evaluate }, theme) {
  const faint = await evaluate(`(() => {
    const style = getComputedStyle(document.documentElement);
    const light = name => { const hex = style.getPropertyValue(name).trim().replace(/^#(.)(.)(.)$/, "#$1$1$2$2$3$3"); const parts = [1, 3, 5].map(at => parseInt(hex.slice(at, at + 2), 16) / 255).map(c => c <= .03928 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4); return .2126 * parts[0] + .7152 * parts[1] + .0722 * parts[2]; };
    const pairs = [["--ink", "--card"], ["--ink", "--ground"], ["--soft", "--card"], ["--soft", "--ground"], ["--accent", "--card"], ...["good", "warn", "bad", "idle"].flatMap(tone => [["--" + tone, "--" + tone + "-wash"], ["--" + tone, "--card"]])];
    return pairs.filter(([a, b]) => { const [x, y] = [light(a), light(b)].sort((p, q) => q - p); return (x + .05) / (y + .05) < 4.5; }).map(pair => pair.join(" on "));
  })()`);
  assert.deepEqual(faint, [], `every text can be read in the ${theme} theme`);
}

// Everything that can be operated has a role and a name.
async function isNamed({ send }) {
  await send("Accessibility.enable");
  const { nodes } = await send("Accessibility.getFullAXTree");
  const of = node => ({ role: node.role?.value, name: node.name?.value?.trim() ?? "" });
  const found = nodes.filter(node => !node.ignored).map(of);
  const operable = ["button", "textbox", "searchbox", "combobox", "link", "image", "dialog", "img"];
  assert.deepEqual(found.filter(({ role, name }) => operable.includes(role) && !name), [], "everything that can be operated has a name");
  const has = (role, name) => assert(found.some(node => node.role === role && name.test(node.name)), `there is no ${role} ${name}`);
  has("banner", /.*/);
  has("main", /.*/);
  has("heading", /^Upstreams$/);
  has("heading", /^Explain a request$/);
  has("button", /^drain slave1$/);
  has("group", /^Mode of slave1$/);
  has("columnheader", /^Health$/);
  has("image", /^Requests\. Now: /);
  has("searchbox", /Find/);
  has("textbox", /^URL/);
}

async function pressesEveryButton(page, { admin, front }) {
  const { click, shown, gone, answer, mode, picture } = handles(page), { evaluate, until } = page;
  const isIn = (name, wanted) => until(`${name} is ${wanted}`, `document.querySelector(${JSON.stringify(mode(name, wanted))}).getAttribute("aria-pressed") === "true"`);
  await shown("#verdict", "all 3 replicas serve");

  await click("[data-minutes='60']");
  await until("the hour is shown", `document.querySelector("[data-minutes='60']").getAttribute("aria-pressed") === "true" && [...document.querySelectorAll("#chart-requests text")].some(text => /60 min/.test(text.textContent))`);
  await click("[data-minutes='5']");

  // Harmful actions require a confirmation.
  await click(mode("slave1", "drain"));
  await answer("Drain slave1?", false);
  assert.equal((await status(admin)).upstreams.find(u => u.name === "slave1").mode, "ready");
  await click(mode("slave1", "drain"));
  await answer("Drain slave1?", true);
  await isIn("slave1", "drain");
  await shown("#upstreams", "nothing runs there: safe to restart");
  await click(mode("slave1", "maintenance"));
  await answer("Set slave1 to maintenance?", true);
  await isIn("slave1", "maintenance");
  await click(mode("slave1", "ready"));
  await isIn("slave1", "ready");

  // The last one stays.
  await click(mode("main", "drain"));
  await answer("Drain main?", true);
  await shown("#ask h3", "main stays in service");
  await shown("#ask p", "is the last upstream that serves");
  await click("#ask [value=no]");
  await gone("#ask");
  assert.equal((await status(admin)).upstreams.find(u => u.name === "main").mode, "ready");

  // The close event of a question may come when the next one is shown: it is no answer to that one.
  await click("#reload");
  await shown("#ask h3", "Reload the configuration?");
  await evaluate(`new Promise(closed => { document.querySelector("#ask").addEventListener("close", closed, { once: true }); document.querySelector("#ask [value=no]").click(); document.querySelector("#pause").click(); }).then(() => true)`);
  await answer("Pause rolls?", true);
  await shown("#pause", "Resume rolls");
  await click("#pause");
  await shown("#pause", "Pause rolls");
  await click("#sync");
  await answer("Reload every replica's catalog?", true);
  await shown("#notice", "Every replica is reloaded");
  await click("#notice button");
  await gone("#notice");
  await until("the roll is in the history", `/Past rolls \\([1-9]/.test(document.querySelector("#rolls summary").textContent)`, 60000);
  await click("#rolls summary");
  await shown("#rolls tbody", "ordered");

  await click("#reload");
  await answer("Reload the configuration?", true);
  await shown("#notice", "The file has what is in force already.");
  await shown("#config", "Revision 1");

  // A request that was refused is listed, found by its id, and explained.
  const id = await refusedRequest(front);
  await shown("#tail", id);
  await evaluate(`(() => { const find = document.querySelector("#find"); find.value = ${JSON.stringify(id)}; find.dispatchEvent(new Event("input")); })()`);
  await until("one request is left", `document.querySelectorAll("#tail tr").length === 1`);
  await click("#tail button");
  await shown("#explained", "served by");
  await evaluate(`(() => { const find = document.querySelector("#find"); find.value = "no such id"; find.dispatchEvent(new Event("input")); })()`);
  await shown("#tail", "None of the kept requests");
  await explains(page);
  await picture("light");
}

// A request with a raw `#` is refused; its connection stays open meanwhile.
function refusedRequest(front) {
  const [host, port] = front.split(":");
  return new Promise((done, fail) => {
    const socket = net.connect(port, host, () => socket.write("GET /geoserver/wms?request=GetMap#x HTTP/1.1\r\nHost: a\r\n\r\n"));
    socket.on("data", part => { const id = /x-request-id: (\S+)/i.exec(part); if (id) done(id[1]); }).on("error", fail);
    setTimeout(() => socket.destroy(), 20000).unref();
  });
}

// By keyboard alone: the URL is typed, and Enter explains it.
async function explains(page) {
  const { shown } = handles(page), { evaluate, send } = page;
  await evaluate(`document.querySelector("#explain-url").value = ""; document.querySelector("#explain-url").focus()`);
  await send("Input.insertText", { text: "http://localhost/geoserver/wms?service=WMS&request=GetMap&layers=geor:public_layer" });
  await page.key("Enter");
  await shown("#explained .pill", "map");
  await shown("#explained", "the least busy for its weight of slave1");
  await shown("#explained .pills", "slave2: ");
  await evaluate(`document.querySelector("#explain-method").value = "POST"; document.querySelector("#explain-form").requestSubmit()`);
  await shown("#explained", "paste it under");
  await evaluate(`document.querySelector("#explain-body").value = "<wfs:Transaction xmlns:wfs='http://www.opengis.net/wfs' service='WFS'/>"; document.querySelector("#explain-url").value = "/geoserver/wfs"; document.querySelector("#explain-form").requestSubmit()`);
  await shown("#explained .pill", "transaction");
  await evaluate(`document.querySelector("#explain-url").value = "wfs"; document.querySelector("#explain-form").requestSubmit()`);
  await shown("#explained .is-error", "is no URL");
  await evaluate(`document.querySelector("#explain-url").value = "/geoserver/wfs"; document.querySelector("#explain-form").requestSubmit()`);
  await shown("#explained .pill", "transaction");
}

// Tab reaches every control in the order of the page, Enter opens a dialog, Escape closes it, and the focus returns.
async function isOperatedByKeyboard(page) {
  const { shown, gone } = handles(page), { evaluate, key } = page;
  // The first control leads past the header.
  assert.equal(await evaluate(`(() => { const first = document.querySelector("a, button, input, select, textarea, [tabindex]"); first.focus(); return first.textContent; })()`), "Skip to the upstreams");
  const reached = [];
  for (let step = 0; step < 120; step++) {
    await key("Tab");
    const at = await evaluate(`(() => { const e = document.activeElement; return e === document.body ? null : e.id || e.ariaLabel || e.dataset.minutes || e.textContent.trim().slice(0, 30) || e.tagName; })()`);
    if (at === null) break;
    reached.push(at);
  }
  for (const wanted of ["reload", "drain slave1", "maintenance main", "pause", "sync", "find", "explain-url", "filter", "events"]) assert(reached.includes(wanted), `Tab does not reach ${wanted}: ${reached.join(", ")}`);
  await evaluate(`document.querySelector('[aria-label="drain slave2"]').focus()`);
  await key("Enter");
  await shown("#ask h3", "Drain slave2?");
  await key("Escape");
  await gone("#ask");
  assert.equal(await evaluate("document.activeElement.ariaLabel"), "drain slave2", "the focus returns to the button");
  await evaluate(`document.querySelector("#chart-requests svg").focus()`);
  await key("ArrowRight");
  await shown("#chart-requests [role=status]", ":");
}

async function survivesManyEvents(page, admin) {
  const { evaluate, until } = page;
  for (let n = 0; n < 250; n++) {
    assert.equal(await order(admin, "/api/upstreams/slave3/mode", { mode: "drain" }), 200);
    assert.equal(await order(admin, "/api/upstreams/slave3/mode", { mode: "ready" }), 200);
  }
  await until("the last events are shown", `document.querySelectorAll("#events li").length === EVENTS_SHOWN`, 60000);
  await evaluate(`(() => { const filter = document.querySelector("#filter"); filter.value = "slave3"; filter.dispatchEvent(new Event("input")); })()`);
  assert(await evaluate(`[...document.querySelectorAll("#events li")].filter(e => e.checkVisibility()).every(e => e.textContent.includes("slave3"))`));
  await evaluate(`(() => { const filter = document.querySelector("#filter"); filter.value = ""; filter.dispatchEvent(new Event("input")); })()`);
}

const browser = await startBrowser(), running = [];
try {
  const first = await startDemo(3);
  running.push(first);
  const url = `http://${first.admin}/`;
  const page = await browser.open(url, { width: 1400, height: 900 });
  await pressesEveryButton(page, first);
  await drawsNumbers(page);
  await isReadable(page, "light");
  await isNamed(page);
  await isOperatedByKeyboard(page);
  await survivesManyEvents(page, first.admin);

  const dark = await browser.open(url, { width: 1400, height: 900, dark: true });
  await handles(dark).shown("#verdict", "serve");
  await isReadable(dark, "dark");
  await handles(dark).picture("dark");
  const phone = await browser.open(url, { width: 360, height: 780 });
  await handles(phone).shown("#verdict", "serve");
  await handles(phone).shown("#tail", "refused");
  await explains(phone);
  await handles(phone).isNarrowEnough("on a phone");
  await handles(phone).picture("phone");

  // Killed, and started again at the same address.
  await page.send("Page.bringToFront");
  first.demo.kill("SIGKILL");
  await first.ended;
  await handles(page).shown("#lost", "geofront has not answered for");
  assert.match(await page.evaluate("document.title"), /no answer/);
  const second = await startDemo(3, first.admin);
  running.push(second);
  await handles(page).gone("#lost");
  await handles(page).shown("#verdict", "all 3 replicas serve");
  await page.until("events flow again", `document.querySelector("#events").textContent.includes("up, was unknown")`);
  second.demo.kill("SIGINT");
  await second.ended;

  const many = await startDemo(20);
  running.push(many);
  const wide = await browser.open(`http://${many.admin}/`, { width: 1400, height: 900 });
  await handles(wide).shown("#verdict", "all 20 replicas serve");
  await wide.until("every upstream has a row", `document.querySelectorAll("#upstreams tr").length === 21`);
  await handles(wide).shown("#chart-limits .keys", "and 13 more");
  await handles(wide).isNarrowEnough("with 20 upstreams");
  await handles(wide).picture("many");
  const narrow = await browser.open(`http://${many.admin}/`, { width: 360, height: 780 });
  await narrow.until("every upstream has a row", `document.querySelectorAll("#upstreams tr").length === 21`);
  await handles(narrow).isNarrowEnough("with 20 upstreams on a phone");
  await drawsNumbers(wide);

  // Failed requests of the time without a server are what the page reports.
  const isLost = problem => /ERR_CONNECTION_(REFUSED|RESET|CLOSED|ABORTED)|ERR_SOCKET_NOT_CONNECTED|ERR_EMPTY_RESPONSE|ERR_INCOMPLETE_CHUNKED|409 \(Conflict\)|400 \(Bad Request\)/.test(problem);
  for (const each of [page, dark, phone, wide, narrow]) {
    assert.deepEqual(each.problems.filter(problem => !isLost(problem)), [], "no script fails and the content policy refuses nothing");
    const own = [first.admin, many.admin].map(admin => `http://${admin}/`);
    assert.deepEqual(each.requests.filter(request => !request.startsWith("data:") && !own.some(origin => request.startsWith(origin))), [], "nothing is loaded from elsewhere");
    assert(each.requests.length > 5, "requests were seen");
  }
} finally {
  await browser.close();
  running.forEach(({ demo }) => demo.kill("SIGKILL"));
}
