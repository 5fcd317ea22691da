"use strict";
const byId = id => document.getElementById(id);
const POLL_MS = 2000, RETRY_MS = 2000, EVENTS_SHOWN = 300, STEPS = ["draining", "reloading", "testing"];
const MODES = [["ready", "Ready"], ["drain", "Drain"], ["maintenance", "Maint."]];
const MODE_TITLES = { ready: "Give it requests", drain: "Give it no new requests", maintenance: "No requests and no probes" };
// Class -> colour; the rare ones share the last.
const COLOURS = { tile: "k0", map: "k1", info: "k2", capabilities: "k3", feature: "k4", coverage: "k5", process: "k6" };

// Words and numbers ----------------------------------------------------------------------------------------------------------

function span(seconds) {
  const units = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];
  const first = Math.max(0, units.findIndex(([, size]) => seconds >= size));
  if (seconds < 1) return "0 s";
  const [unit, size] = units[first], whole = Math.floor(seconds / size);
  const next = units[first + 1], rest = next ? Math.floor((seconds % size) / next[1]) : 0;
  return `${whole} ${unit}` + (rest && first < 2 ? ` ${rest} ${next[0]}` : "");
}

const seconds = ms => ms < 60000 ? `${(ms / 1000).toFixed(1)} s` : span(ms / 1000);
const millis = ms => ms === null || ms === undefined ? "-" : ms < 1000 ? `${ms < 10 ? +ms.toFixed(1) : Math.round(ms)} ms` : seconds(ms);
const amount = n => n === 0 ? "0" : n < 1 ? n.toFixed(2) : n < 10 ? n.toFixed(1) : Math.round(n).toLocaleString();
const plural = (n, one, many = `${one}s`) => `${n} ${n === 1 ? one : many}`;
const list = names => names.length < 2 ? names.join("") : `${names.slice(0, -1).join(", ")} and ${names.at(-1)}`;
const firstLine = text => (text ?? "").split("\n")[0];

function healthOf(u) {
  if (u.mode === "maintenance") return ["idle", "maintenance"];
  if (u.health === "down") return ["bad", u.reachable ? "failing" : "down"];
  if (u.health !== "up") return ["warn", "unknown"];
  if (u.ejected_seconds !== null) return ["warn", "ejected"];
  if (u.half_open) return ["warn", "on trial"];
  if (u.mode === "drain") return ["idle", u.in_flight ? "draining" : "drained"];
  return ["good", "up"];
}

function detailOf(u) {
  if (u.ejected_seconds !== null && u.mode !== "maintenance") return `${span(u.ejected_seconds)} left`;
  const by = u.mode !== "ready" && u.mode_by ? `, by ${u.mode_by}` : "";
  return `for ${span(u.since_seconds)}${by}` + (u.effective_weight < u.weight ? `, slow start ${u.effective_weight} of ${u.weight}` : "");
}

const isRolling = u => STEPS.includes(u.catalog.doing);
const isUpReplica = u => u.role === "replica" && u.health === "up";

function failureOf(u) {
  const { last_reload: last, retry_seconds: retry, fresh } = u.catalog;
  if (fresh || !last?.failure) return null;
  return firstLine(last.failure) + (retry === null ? "" : `; next try in ${span(retry)}`);
}

// What one upstream's catalog is like: tone, word, detail.
function catalogOf(u, canReload) {
  const { doing, fresh, last_reload: last } = u.catalog;
  if (isRolling(u)) return ["idle is-busy", doing, { draining: "until its requests have ended", reloading: "GeoServer reads its catalog", testing: "it must draw a map" }[doing]];
  if (doing === "failed") return ["bad", "reload failed", failureOf(u) ?? ""];
  if (!isUpReplica(u)) return ["", "", ""];
  if (fresh) return ["good", "fresh", last ? `${span(last.ago_seconds)} ago, in ${seconds(last.took_ms)}` : ""];
  if (doing === "held-back") return ["warn", "stale", "the last that serves: not reloaded until another one can"];
  return ["warn", "stale", !canReload ? "nothing reloads it" : doing === "waiting" ? "waits for its turn" : ""];
}

// The same sentence as `geofront status` has.
function catalogLine({ catalog, upstreams }) {
  const changed = catalog.changed_seconds === null ? "Unchanged since geofront started" : `Changed ${span(catalog.changed_seconds)} ago (epoch ${catalog.epoch})`;
  const replicas = upstreams.filter(u => u.role === "replica"), up = replicas.filter(isUpReplica), fresh = up.filter(u => u.catalog.fresh).length;
  const bad = replicas.find(u => failureOf(u)), failed = bad && `${bad.name}: reload failed: ${failureOf(bad)}`;
  const rolling = up.find(isRolling), last = up.find(u => u.catalog.doing === "held-back");
  const share = `${fresh} of ${replicas.length} replicas ${fresh === 1 ? "has" : "have"} it`;
  const [tone, word, rest] =
    !up.length ? ["bad", "not known", failed ?? "no replica is up"] :
    catalog.paused && !catalog.done ? ["warn", "paused", `${share}; rolls are paused until you resume them`] :
    !catalog.done && catalog.settled < catalog.epoch ? ["idle is-busy", "changing", "brought to the replicas once changes stop"] :
    failed ? ["bad", "not everywhere", `${share}; ${failed}`] :
    catalog.done ? ["good", "everywhere", `${up.length < replicas.length ? "every replica that is up has it" : "every replica has it"}${catalog.paused ? "; rolls are paused" : ""}`] :
    fresh === up.length ? ["idle is-busy", "everywhere", "checking for further changes"] :
    catalog.rolls === false ? ["idle is-busy", "on its way", `${share}; another geofront reloads the others`] :
    (catalog.rests_seconds ?? null) !== null ? ["idle is-busy", "on its way", `${share}; the next roll begins in ${span(catalog.rests_seconds)}`] :
    !catalog.can_reload ? ["warn", "not everywhere", `${share}; the others are not reloaded: “geofront check” shows what is missing`] :
    rolling ? ["idle is-busy", "on its way", `${share}; ${rolling.name} is ${rolling.catalog.doing}`] :
    last ? ["warn", "not everywhere", `${share}; ${last.name} is the only one that serves, and is not reloaded`] :
    ["idle is-busy", "on its way", `${share}; the others are next`];
  return [tone, word, `${changed}; ${rest}.`];
}

// Is the cluster well? The findings, worst first: tone, sentence, what to do.
function findings(status, lately) {
  const { upstreams, conditions, catalog } = status, found = [];
  const say = (tone, text, remedy = "") => found.push({ tone, text, remedy });
  const sentence = text => text && text[0].toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");
  if (status.stopping) say("idle", "geofront is stopping.", "Running requests finish; new ones should go elsewhere.");
  if (!status.ready && !status.stopping) {
    const cause = upstreams.find(u => u.last_cause)?.last_cause;
    say("bad", "No request is served: no upstream is up and ready.", cause ? `The first cause: ${firstLine(cause)}` : "Wait for the first probes, or set an upstream to ready.");
  }
  for (const c of conditions.filter(c => c.needs_operator)) say(status.ready ? "warn" : "bad", sentence(`${c.text} (for ${span(c.since_seconds)})`), sentence(c.remedy));
  const replicas = upstreams.filter(u => u.role === "replica"), gone = replicas.filter(u => u.mode !== "maintenance" && (u.health === "down" || u.ejected_seconds !== null));
  if (gone.length > 1 && status.ready) {
    const serving = replicas.filter(u => u.eligible).length;
    say(serving ? "warn" : "bad", `${gone.length} of ${replicas.length} replicas are out: ${list(gone.map(u => u.name))}.`, serving ? `${serving === 1 ? "One replica carries" : `${serving} replicas carry`} the load. The causes are below.` : "The main serves reads meanwhile. The causes are below.");
  }
  for (const u of upstreams.filter(u => u.mode !== "maintenance" && u.health === "down")) {
    const others = upstreams.filter(other => other.role === "replica" && other.eligible).length;
    const rest = u.role === "main" ? "Administration and writes get errors until it is back." : others ? `${others === 1 ? "One other replica serves" : `${others} other replicas serve`}.` : "No other replica serves.";
    say(u.role === "main" || !others ? "bad" : "warn", `${u.name} is ${u.reachable ? "failing its probes" : "down"}${u.last_cause ? `: ${firstLine(u.last_cause)}` : ""}.`,
      `${rest} ${u.reachable ? "Look into GeoServer's log" : "See whether its GeoServer runs"}; it returns by itself once its probes pass.`);
  }
  for (const u of upstreams.filter(u => u.mode !== "maintenance" && u.health === "up" && (u.ejected_seconds !== null || u.half_open)))
    say("warn", `${u.name} is set aside because requests failed there${u.last_cause ? `: ${firstLine(u.last_cause)}` : ""}.`, u.half_open ? "It is on trial now, one request at a time." : `It is tried again in ${span(u.ejected_seconds)}. If this repeats, restart that GeoServer.`);
  if (lately?.refused > 0) say("warn", `${plural(lately.refused, "request was", "requests were")} refused in the last ${Math.round(lately.seconds)} s.`, status.queue.waiting ? "More is asked than the cluster can do: see the queue below, add a replica, or look for what makes them slow." : "See the reasons under slow and failed requests, or geofront_refused_total.");
  for (const u of upstreams.filter(u => u.catalog.doing === "failed")) say("warn", `${u.name} could not reload its catalog: ${failureOf(u) ?? "see the log"}.`, "It serves its old catalog only where no other can. Look into its own log.");
  if (refusals(status).length) say("warn", "The last change of the configuration was refused.", "Mend the file as shown below and save it.");
  const paused = upstreams.filter(u => isUpReplica(u) && !u.catalog.fresh);
  if (paused.length && !catalog.can_reload && catalog.rolls !== false) say("warn", `${list(paused.map(u => u.name))} ${paused.length === 1 ? "lacks" : "lack"} the main's last change, and nothing brings it there.`, "Give credentials under [geoserver] in the configuration.");
  else if (paused.length && catalog.paused) say("warn", `Rolls are paused, and ${list(paused.map(u => u.name))} ${paused.length === 1 ? "lacks" : "lack"} the main's last change.`, "Resume rolls when you are done.");
  for (const u of upstreams.filter(u => u.health === "unknown" && u.mode !== "maintenance")) say("idle", `${u.name} has not been probed yet.`, "It gets requests once its probes pass.");
  const out = upstreams.filter(u => u.mode !== "ready");
  if (out.length) say("idle", `${list(out.map(u => u.name))} ${out.length === 1 ? "is" : "are"} out of service by order.`, "Set to ready to bring back.");
  for (const c of conditions.filter(c => !c.needs_operator)) say("idle", sentence(c.text), sentence(c.remedy));
  return found.sort((a, b) => ["bad", "warn", "idle"].indexOf(a.tone) - ["bad", "warn", "idle"].indexOf(b.tone));
}

function showVerdict(status, lately) {
  const found = findings(status, lately), replicas = status.upstreams.filter(u => u.role === "replica");
  const serving = replicas.filter(u => u.eligible).length;
  const rolling = status.upstreams.find(isRolling);
  const well = { tone: "good", text: `The cluster is well: ${serving === replicas.length ? serving === 1 ? "the replica serves" : serving === 2 ? "both replicas serve" : `all ${serving} replicas serve` : `${serving} of ${replicas.length} replicas serve`}.`,
    remedy: rolling ? `${rolling.name} gets the main's last change: ${catalogOf(rolling)[2]}.` : status.catalog.done ? "Every replica has the main's last change." : "The main's last change is on its way to the replicas." };
  const isWell = !found.length || found[0].tone === "idle" && status.ready && !status.stopping;
  const first = isWell ? well : found.shift(), box = byId("verdict");
  box.className = `verdict ${first.tone}`;
  const [strong, p] = box.lastElementChild.children;
  // A live region speaks when it changes, so it changes only when there is news.
  if (strong.textContent !== first.text) strong.textContent = first.text;
  if (p.textContent !== first.remedy) p.textContent = first.remedy;
  byId("also").hidden = !found.length;
  byId("also").replaceChildren(...found.map(f => html("li", { className: f.tone }, `${f.text} `, html("span", { textContent: f.remedy }))));
  document.title = isWell ? "geofront" : `${first.text} - geofront`;
}

// Talking to geofront --------------------------------------------------------------------------------------------------------

// The page of one of several clusters is below the path of that cluster, and so is its API.
const base = location.pathname.replace(/[^/]*$/, "");

let asking = null;
async function call(path, options = {}) {
  const token = sessionStorage.getItem("token");
  const headers = { ...options.headers, "X-Geofront": "page", ...(token && { Authorization: `Bearer ${token}` }) };
  const response = await fetch(base + path.slice(1), { ...options, headers, cache: "no-store" });
  if (response.status !== 401) return response;
  asking ??= askToken().finally(() => asking = null);
  if (!await asking) throw new Error("a token is required");
  return call(path, options);
}

async function post(path, body) {
  const response = await call(path, { method: "POST", headers: body && { "Content-Type": "application/json" }, body: body && JSON.stringify(body) });
  return { status: response.status, answer: await response.json() };
}

// Gives the question that is shown its answer, once.
let settle = () => {};
function ask({ title, text, yes, danger, secret }) {
  const dialog = byId("ask"), input = dialog.querySelector("input"), button = dialog.querySelector("[value=yes]");
  settle();
  dialog.querySelector("h3").textContent = title;
  dialog.querySelector("p").textContent = text;
  button.textContent = yes ?? "";
  button.hidden = !yes;
  dialog.querySelector("[value=no]").textContent = yes ? "Cancel" : "Close";
  button.className = danger ? "danger" : "primary";
  input.hidden = !secret;
  input.value = "";
  dialog.returnValue = "";
  if (dialog.open) dialog.close();
  dialog.showModal();
  if (secret) input.focus();
  return new Promise(done => settle = () => {
    settle = () => {};
    done(dialog.returnValue === "yes" && (secret ? input.value : true));
  });
}
// The event comes some time after its question was closed: the next question may be shown by then, and keeps waiting for its own answer.
byId("ask").addEventListener("close", () => byId("ask").open || settle());

// Enter means yes, not the first button of the form.
byId("ask").querySelector("input").addEventListener("keydown", event => {
  if (event.key !== "Enter") return;
  event.preventDefault();
  byId("ask").close("yes");
});

async function askToken() {
  const token = await ask({ title: "Admin token", text: "This geofront requires its admin token. It is kept until you close this tab.", yes: "Continue", secret: true });
  if (token) sessionStorage.setItem("token", token);
  return Boolean(token);
}

function notify(tone, title, text = "") {
  const notice = byId("notice");
  notice.className = `banner ${tone}`;
  notice.querySelector("strong").textContent = title;
  notice.querySelector("pre").textContent = text;
  notice.querySelector("pre").hidden = !text;
  notice.hidden = false;
  clearTimeout(notify.timer);
  if (tone === "good") notify.timer = setTimeout(() => notice.hidden = true, 10000);
}
byId("notice").querySelector("button").onclick = () => byId("notice").hidden = true;

// The history and its curves -------------------------------------------------------------------------------------------------

const KEPT = { 5: 150, 60: 120 };
let minutes = 5, kept = { 5: null, 60: null };

// Puts new samples behind those that are here; all anew after a restart of geofront or a gap.
function merge(old, fresh, most) {
  if (!old || old.started !== fresh.started || fresh.sequence - old.sequence !== fresh.times.length) return fresh.times.length || !old || old.started !== fresh.started ? fresh : old;
  const join = (a, b, fill) => [...(a ?? old.times.map(() => fill)), ...(b ?? fresh.times.map(() => fill))].slice(-most);
  const joined = (a, b, keys, fill) => Object.fromEntries(keys.map(key => [key, join(a?.[key], b?.[key], fill)]));
  const names = (of, key) => [...new Set([...old[of], ...fresh[of]].map(x => x[key]))];
  const by = (from, of, key, name) => from[of].find(x => x[key] === name);
  const latency = ["p50_ms", "p95_ms", "p99_ms"];
  return {
    ...fresh, all: joined(old.all, fresh.all, latency, null),
    ...joined(old, fresh, ["times", "errors", "refused", "retried", "aborted", "waiting"], 0), ...joined(old, fresh, ["waited_p50_ms", "waited_p95_ms"], null),
    classes: names("classes", "class").map(name => {
      const [a, b] = [by(old, "classes", "class", name), by(fresh, "classes", "class", name)];
      return { class: name, ...joined(a, b, ["rate"], 0), ...joined(a, b, latency, null) };
    }),
    upstreams: fresh.upstreams.map(b => ({ ...b, ...joined(by(old, "upstreams", "upstream", b.upstream), b, ["rate", "errors", "in_flight", "max_in_flight", "eligible"], null) })),
  };
}

const classChoice = html("select", { ariaLabel: "Class whose times are shown" }, html("option", { value: "", textContent: "all classes" }));
classChoice.onchange = () => showCurves();
const rate = value => `${amount(value)}/s`;
const charts = {
  requests: new Chart(byId("chart-requests"), { title: "Requests", kind: "stack", format: rate }),
  latency: new Chart(byId("chart-latency"), { title: "Time to the end", kind: "lines", format: millis, extra: classChoice }),
  errors: new Chart(byId("chart-errors"), { title: "Errors and refusals", kind: "lines", format: rate }),
  queue: new Chart(byId("chart-queue"), { title: "Queue", kind: "lines", format: amount }),
  flight: new Chart(byId("chart-flight"), { title: "In flight", kind: "stack", format: amount }),
  limits: new Chart(byId("chart-limits"), { title: "Limit of each upstream", kind: "lines", format: amount }),
};
charts.queue.quiet = "No request waited";
charts.limits.quiet = "No upstream has a limit";

function showCurves() {
  const history = kept[minutes];
  if (!history) return;
  const { times, classes } = history, range = minutes * 60000;
  const shown = classes.filter(c => COLOURS[c.class]), rest = classes.filter(c => !COLOURS[c.class]);
  const series = shown.map(c => ({ name: c.class, key: COLOURS[c.class], values: c.rate }));
  if (rest.length) series.push({ name: "other", key: "k7", values: times.map((_, at) => rest.reduce((sum, c) => sum + c.rate[at], 0)) });
  charts.requests.show(times, range, series);
  const names = classes.map(c => c.class);
  if ([...classChoice.options].slice(1).map(o => o.value).join() !== names.join()) {
    const chosen = classChoice.value;
    classChoice.replaceChildren(html("option", { value: "", textContent: "all classes" }), ...names.map(name => html("option", { value: name, textContent: name })));
    classChoice.value = names.includes(chosen) ? chosen : "";
  }
  const latency = classes.find(c => c.class === classChoice.value) ?? history.all;
  charts.latency.show(times, range, [
    { name: "p50", key: "k0", values: latency.p50_ms }, { name: "p95", key: "k1", values: latency.p95_ms }, { name: "p99", key: "k3", values: latency.p99_ms },
  ]);
  charts.errors.show(times, range, [
    { name: "errors", key: "kbad", values: history.errors, area: true }, { name: "refused", key: "kwarn", values: history.refused },
    { name: "tried again", key: "k1", values: history.retried }, { name: "client left", key: "ksoft", values: history.aborted },
  ]);
  charts.queue.show(times, range, [{ name: "requests waiting", key: "k1", values: history.waiting, area: true }, { name: "wait p95 in s", key: "kwarn", values: history.waited_p95_ms.map(ms => ms === null ? null : ms / 1000) }]);
  showLoads(history, range);
  for (const u of history.upstreams) {
    const row = rows.get(u.upstream);
    if (row) sparkline(row.spark, u.in_flight, u.max_in_flight, KEPT[minutes]);
  }
}

// What upstreams work on, below the sum of their limits; and each limit, as it is learned.
function showLoads({ times, upstreams }, range) {
  const key = at => `k${at % 8}`, sum = values => values.some(v => v === null) ? null : values.reduce((a, b) => a + b, 0);
  const limits = times.map((_, at) => sum(upstreams.map(u => u.max_in_flight[at] ?? null)));
  const loads = upstreams.map((u, at) => ({ name: u.upstream, key: key(at), values: u.in_flight }));
  charts.flight.show(times, range, [...loads, ...(limits.some(v => v !== null) ? [{ name: "all limits", key: "ksoft", values: limits, line: true }] : [])]);
  charts.limits.show(times, range, upstreams.map((u, at) => ({ name: u.upstream, key: key(at), values: u.max_in_flight })));
}

async function refreshHistory() {
  const shown = minutes, after = kept[shown]?.sequence ?? 0;
  const response = await call(`/api/history?minutes=${shown}&after=${after}`, { signal: AbortSignal.timeout(5000) });
  if (!response.ok) return null;
  const fresh = await response.json();
  kept[shown] = merge(kept[shown], fresh, KEPT[shown]);
  return fresh;
}

function number(id, value, unit = "", tone = "") {
  const dd = byId(id);
  dd.replaceChildren(value, ...(unit ? [html("small", { textContent: unit })] : []));
  dd.parentElement.className = tone;
}

function showNumbers({ upstreams, queue }, lately) {
  const time = (id, ms) => { const [value, unit] = millis(ms).split(" "); number(id, value, unit); };
  if (lately) {
    number("n-rate", amount(lately.rate), "/s");
    time("n-p50", lately.p50_ms);
    time("n-p95", lately.p95_ms);
    number("n-errors", lately.errors.toLocaleString(), "in 30 s", lately.errors ? "is-bad" : "");
    number("n-refused", lately.refused.toLocaleString(), "in 30 s", lately.refused ? "is-warn" : "");
  }
  const limits = upstreams.filter(u => u.eligible), most = limits.every(u => u.max_in_flight !== null) && limits.reduce((sum, u) => sum + u.max_in_flight, 0);
  number("n-flight", upstreams.reduce((sum, u) => sum + u.in_flight, 0), most ? `of ${most}` : "");
  number("n-waiting", queue.waiting, `of ${queue.most}`, queue.waiting ? "is-warn" : "");
}

// Upstreams ------------------------------------------------------------------------------------------------------------------

const rows = new Map(), draining = new Map();

function makeRow(name) {
  const row = html("tr", { role: "row" }), cell = (part, className, label = "", ...children) => {
    const td = html("td", { className }, ...children);
    td.setAttribute("role", "cell");
    if (label) td.dataset.label = label;
    row.append(td);
    return row[part] = td;
  };
  const soft = () => html("div", { className: "soft" });
  cell("who", "who", "", html("span", { className: "name", textContent: name }), html("span", { className: "role" }), soft());
  cell("health", "health", "", html("span", { className: "pill" }), soft(), html("div", { className: "cause" }));
  const slots = html("div", { className: "slots" }, html("i", { className: "quick" }), html("i", { className: "slower" }), html("i", { className: "heavy" }));
  cell("slots", "slots-cell", "In flight", html("span"), slots, soft());
  row.spark = svg("svg", { class: "spark", role: "img", preserveAspectRatio: "none" });
  cell("load", "load", "", row.spark);
  cell("rate", "number", "Req/s");
  cell("p50", "number", "p50");
  cell("p95", "number", "p95");
  cell("errors", "number", "Errors", html("span"), soft());
  row.probes = html("div", { className: "probes", role: "img" });
  cell("probe", "probe-cell", "Probes", row.probes, soft());
  cell("catalog", "catalog", "Catalog", html("span", { className: "pill" }), soft());
  const modes = html("span", { className: "segments", role: "group", ariaLabel: `Mode of ${name}` });
  for (const [mode, label] of MODES) {
    const button = html("button", { textContent: label, title: MODE_TITLES[mode], ariaLabel: `${mode} ${name}`, onclick: () => order(name, mode) });
    button.dataset.mode = mode;
    modes.append(button);
  }
  cell("operate", "operate", "", modes, html("div", { className: "draining", hidden: true }, html("i")), soft());
  return row;
}

function fillRow(row, u, busiest, lately, canReload) {
  const [tone, word] = healthOf(u), [, role, url] = row.who.children, [pill, detail, cause] = row.health.children;
  row.className = tone === "bad" ? "is-bad" : "";
  role.textContent = u.role;
  url.textContent = u.url.replace(/^http:\/\//, "");
  url.title = u.url;
  pill.className = `pill ${tone}`;
  pill.textContent = word;
  detail.textContent = detailOf(u);
  cause.textContent = u.last_cause === null ? "" : tone === "good" ? `before: ${firstLine(u.last_cause)}` : firstLine(u.last_cause);
  const [freshness, state, why] = catalogOf(u, canReload), [mark, reason] = row.catalog.children;
  mark.hidden = !state;
  mark.className = `pill ${freshness}`;
  mark.textContent = state;
  reason.textContent = why;
  row.catalog.classList.toggle("is-empty", !state);
  row.catalog.title = u.catalog.number === null ? "" : `updateSequence ${u.catalog.number}`;
  fillSlots(row.slots, u, busiest);
  const of = lately?.upstreams.find(other => other.upstream === u.name);
  row.rate.textContent = of ? amount(of.rate) : "";
  row.p50.textContent = of ? millis(of.p50_ms) : "";
  row.p95.textContent = of ? millis(of.p95_ms) : "";
  const [errors, total] = row.errors.children;
  errors.textContent = of ? of.errors : "";
  errors.className = of?.errors ? "is-error" : "";
  total.textContent = `${u.errors_total.toLocaleString()} in all`;
  total.title = `of ${u.requests_total.toLocaleString()} requests since geofront started`;
  fillDraining(row.operate, u);
  for (const button of row.operate.querySelectorAll("button")) {
    button.setAttribute("aria-pressed", button.dataset.mode === u.mode);
    button.disabled = button.dataset.mode === u.mode;
  }
}

function fillSlots(cell, u, busiest) {
  const [text, bar, detail] = cell.children, most = u.max_in_flight ?? Math.max(1, busiest);
  text.textContent = u.max_in_flight === null ? u.in_flight : `${u.in_flight} of ${u.max_in_flight}`;
  const parts = [Math.max(0, u.in_flight - u.slower_in_flight), Math.max(0, u.slower_in_flight - u.heavy_in_flight), u.heavy_in_flight];
  [...bar.children].forEach((part, at) => part.style.width = `${Math.min(100, 100 * parts[at] / most)}%`);
  const inside = u.control_flow_delay_ms ? `waits ${seconds(u.control_flow_delay_ms)} inside` : "";
  detail.textContent = inside;
  text.title = u.max_in_flight === null ? "no limit" : u.max_in_flight_learned ? "the limit is learned" : "the limit is configured";
  bar.title = `quick ${parts[0]}, slower ${parts[1]}, heavy ${parts[2]}` + (u.max_in_flight === null ? "" : `; slower and heavy together at most ${u.max_slower_in_flight}, heavy at most ${u.max_heavy_in_flight}`);
}

function fillDraining(cell, u) {
  const [, bar, detail] = cell.children, isDraining = u.mode !== "ready" && u.in_flight > 0;
  if (isDraining) draining.set(u.name, Math.max(draining.get(u.name) ?? 0, u.in_flight)); else draining.delete(u.name);
  bar.hidden = !isDraining;
  if (isDraining) bar.firstChild.style.width = `${100 - 100 * u.in_flight / draining.get(u.name)}%`;
  detail.textContent = isDraining ? `${plural(u.in_flight, "request")} still running` : u.mode === "drain" ? "nothing runs there: safe to restart" : "";
}

function showUpstreams({ upstreams, catalog }, lately) {
  const busiest = Math.max(...upstreams.map(u => u.in_flight), 0), names = new Set(upstreams.map(u => u.name)), body = byId("upstreams");
  for (const [name, row] of rows) if (!names.has(name)) { row.remove(); rows.delete(name); }
  upstreams.forEach((u, at) => {
    if (!rows.has(u.name)) rows.set(u.name, makeRow(u.name));
    const row = rows.get(u.name);
    fillRow(row, u, busiest, lately, catalog.can_reload);
    row.spark.setAttribute("aria-label", `${u.in_flight} in flight${u.max_in_flight === null ? "" : ` of ${u.max_in_flight}`}, over the time shown`);
    if (body.children[at] !== row) body.insertBefore(row, body.children[at] ?? null);
  });
}

function showProbes(history) {
  for (const { upstream, probes } of history.upstreams) {
    const row = rows.get(upstream);
    if (!row) continue;
    const shown = probes.slice(-15), worst = Math.max(50, ...shown.map(p => p.took_ms)), bad = shown.filter(p => p.outcome !== "success" && p.outcome !== "busy");
    row.probes.replaceChildren(...shown.map(p => {
      const bar = html("i", { className: p.outcome === "success" ? "" : p.outcome === "busy" ? "is-busy" : "is-bad", title: `${p.outcome}, ${p.took_ms} ms, ${span(p.ago_seconds)} ago` });
      bar.style.height = `${p.outcome === "success" ? 6 + 16 * p.took_ms / worst : 22}px`;
      return bar;
    }));
    const last = shown.at(-1);
    row.probes.setAttribute("aria-label", `${bad.length} of the last ${shown.length} probes failed`);
    row.probe.lastChild.textContent = last ? last.outcome === "success" ? `${last.took_ms} ms` : last.outcome : "";
  }
}

async function order(name, mode) {
  const u = latest?.upstreams.find(other => other.name === name), running = u ? plural(u.in_flight, "running request") : "running requests";
  const text = { drain: `${name} gets no new requests. Its ${running} finish; this page shows when it is safe to restart.`, maintenance: `${name} gets no requests and no probes, so it raises no alarms. Its ${running} finish.` }[mode];
  if (text && !await ask({ title: mode === "drain" ? `Drain ${name}?` : `Set ${name} to maintenance?`, text, yes: mode === "drain" ? "Drain" : "Set to maintenance" })) return;
  try {
    const { status, answer } = await post(`/api/upstreams/${encodeURIComponent(name)}/mode`, { mode, force: false });
    if (status === 409) await ask({ title: `${name} stays in service`, text: `geofront refused: ${answer.error}.\n\nIf you mean it all the same: geofront ${mode} ${name} --force` });
    else if (status !== 200) notify("bad", `${name} could not be set to ${mode}`, answer.error);
  } catch (error) { notify("bad", `${name} could not be set to ${mode}`, error.message); }
  refresh();
}

// Catalog --------------------------------------------------------------------------------------------------------------------

function showCatalog(status) {
  const [tone, word, text] = catalogLine(status), [pill, line] = byId("catalog").querySelector(".line").children;
  pill.className = `pill ${tone}`;
  pill.textContent = word;
  line.textContent = text + (status.catalog.number === null ? "" : ` The main's updateSequence is ${status.catalog.number}.`);
  byId("sync").disabled = !status.catalog.can_reload || status.catalog.rolls === false;
  byId("sync").title = status.catalog.can_reload ? "For changes that GeoServer does not count; others are noticed" : "GeoServer reloads its catalog for administrators only, and the configuration has no credentials";
  const replicas = status.upstreams.filter(isUpReplica), isUnderWay = !status.catalog.done && replicas.some(u => isRolling(u) || ["waiting", "failed", "held-back"].includes(u.catalog.doing));
  byId("steps").hidden = !isUnderWay;
  byId("steps").replaceChildren(...(isUnderWay ? replicas : []).map(stepsOf));
  byId("pause").hidden = status.catalog.paused === undefined;
  byId("pause").textContent = status.catalog.paused ? "Resume rolls" : "Pause rolls";
}

// Drained, reloaded, tested, serving: how far one replica is.
function stepsOf(u) {
  const { doing, fresh } = u.catalog, at = fresh ? 4 : doing === "failed" ? 1 : STEPS.indexOf(doing);
  const bars = [0, 1, 2, 3].map(step => html("i", { className: step < at ? "is-done" : step === at ? "is-now" : "" }));
  const word = fresh ? "has it" : { waiting: "waits for its turn", "held-back": "held back: the last that serves", failed: "failed", no: "next" }[doing] ?? `${doing} (step ${at + 1} of 4)`;
  return html("li", { className: doing === "failed" ? "bad" : "" }, html("b", { textContent: u.name }), ` ${word}`, html("div", { ariaHidden: "true" }, ...bars));
}

const WHY = { number: "the main's updateSequence moved", write: "a write through geofront", sync: "ordered", main: "another upstream is the main", directory: "the data directory changed", repair: "repair" };
let hasRolls = true;
async function showRolls() {
  if (!hasRolls) return;
  const response = await call("/api/catalog/history", { signal: AbortSignal.timeout(5000) });
  if (response.status === 404) return void (hasRolls = false);
  if (!response.ok) return;
  const { rolls } = await response.json(), shown = rolls.slice(-30).reverse();
  byId("rolls").hidden = !shown.length;
  byId("rolls").querySelector("summary").textContent = `Past rolls (${rolls.length})`;
  byId("rolls").querySelector("tbody").replaceChildren(...shown.map(roll => html("tr", {},
    html("td", { textContent: new Date(roll.began_unix * 1000).toLocaleString() }), html("td", { textContent: (WHY[roll.why] ?? roll.why) + (roll.by.length ? `, by ${roll.by.join(", ")}` : "") }),
    html("td", { className: "number", textContent: roll.epoch }), html("td", { className: "number", textContent: seconds(roll.took_ms) }),
    html("td", {}, ...roll.replicas.map(r => html("div", { className: r.failure ? "is-error" : "", textContent: `${r.upstream} ${r.failure ? firstLine(r.failure) : seconds(r.took_ms)}` }))))));
}

byId("sync").onclick = async () => {
  const replicas = latest?.upstreams.filter(isUpReplica).length ?? 0;
  if (!await ask({ title: "Reload every replica's catalog?", text: `${plural(replicas, "replica")}, one after the other, each while it serves nothing. The cluster has one less meanwhile. Changes made in GeoServer are noticed without this.`, yes: "Reload all" })) return;
  try {
    const { status, answer } = await post("/api/catalog/sync");
    if (status === 202) notify("good", "Every replica is reloaded, while the others serve.");
    else notify("bad", "The catalog cannot be reloaded.", answer.error);
  } catch (error) { notify("bad", "The catalog cannot be reloaded.", error.message); }
  refresh();
};

byId("pause").onclick = async () => {
  const isPaused = latest?.catalog.paused;
  if (!isPaused && !await ask({ title: "Pause rolls?", text: "Replicas keep the catalog that they have, and changes on the main do not reach them until you resume.", yes: "Pause rolls" })) return;
  try {
    const { status, answer } = await post(`/api/catalog/${isPaused ? "resume" : "pause"}`);
    if (status !== 200) notify("bad", "Rolls could not be paused or resumed.", answer.error);
  } catch (error) { notify("bad", "Rolls could not be paused or resumed.", error.message); }
  refresh();
};

byId("reload").onclick = async () => {
  if (!await ask({ title: "Reload the configuration?", text: "The file is read anew. If it has a fault it is refused, and what is in force stays.", yes: "Reload" })) return;
  byId("reload").disabled = true;
  try {
    const { answer } = await post("/api/config/reload");
    if (answer.outcome === "applied") notify("good", `Configuration ${answer.revision} is in force.`, answer.changes.join("\n"));
    else if (answer.outcome === "unchanged") notify("good", "The file has what is in force already.");
    else if (answer.outcome === "refused") byId("notice").hidden = true;
    else notify("bad", "The configuration could not be reloaded.", answer.error);
  } catch (error) { notify("bad", "The configuration could not be reloaded.", error.message); }
  byId("reload").disabled = false;
  refresh();
};

// Status ---------------------------------------------------------------------------------------------------------------------

// Which requests wait, of which class and which user, and for how long.
function showQueue({ waiting, most, served_per_second: pace, classes, users = [] }) {
  byId("queue").hidden = !waiting;
  byId("queue-text").textContent = `${plural(waiting, "request waits", "requests wait")} for a slot, of at most ${most}. ${pace.toFixed(1)} get one each second.`;
  const row = (name, ...numbers) => html("tr", {}, html("td", { textContent: name }), ...numbers.map(n => html("td", { className: "number", textContent: n })));
  byId("queue-classes").replaceChildren(...classes.map(c => row(c.class, c.waiting, c.users, seconds(c.longest_ms))));
  byId("queue-users").replaceChildren(...users.map(u => row(u.user, u.waiting, seconds(u.longest_ms))));
}

// The reasons why the configuration, or the front file of several clusters, was refused. A mistake in the front file counts once.
function refusals(status) {
  const refused = [status.front_reload, status.last_reload].filter(last => last?.outcome === "refused");
  return [...new Set(refused.map(last => last.error))];
}

let heard = Date.now(), latest = null;
function show(status, history) {
  heard = Date.now();
  latest = status;
  // A link sends no token.
  document.querySelectorAll("footer a:not(#all-clusters)").forEach(link => link.hidden = Boolean(sessionStorage.getItem("token")));
  const last = status.last_reload, lately = history?.lately ?? null;
  byId("facts").textContent = (status.cluster ? `cluster ${status.cluster} · ` : "") + `configuration ${status.revision}` + (last ? `, read ${span(last.ago_seconds)} ago` : "") + ` · running for ${span(status.uptime_seconds)}`;
  byId("version").textContent = `geofront ${status.version}`;
  byId("all-clusters").hidden = !status.cluster;
  byId("refused").hidden = !refusals(status).length;
  byId("refused").querySelector("pre").textContent = refusals(status).join("\n\n");
  showVerdict(status, lately);
  showNumbers(status, lately);
  showUpstreams(status, lately);
  showCatalog(status);
  showQueue(status.queue);
  showConfiguration(status);
  if (history) showProbes(history);
  showCurves();
}

let refreshing = false, again = false;
async function refresh() {
  if (asking) return;
  if (refreshing) return void (again = true);
  refreshing = true;
  try {
    const response = await call("/api/status", { signal: AbortSignal.timeout(5000) });
    const answer = await response.json();
    if (!response.ok) throw new Error(answer.error);
    show(answer, await refreshHistory());
    document.body.classList.remove("is-lost");
    byId("lost").hidden = true;
    await Promise.all([showRolls(), showTail()]);
  } catch (error) {
    document.body.classList.add("is-lost");
    byId("lost").textContent = `geofront has not answered for ${span((Date.now() - heard) / 1000)} (${error.message}). What you see is what was last known.`;
    byId("lost").hidden = false;
    document.title = "no answer - geofront";
  } finally { refreshing = false; }
  if (again) { again = false; refresh(); }
}

for (const button of document.querySelectorAll("[data-minutes]")) button.onclick = () => {
  minutes = +button.dataset.minutes;
  document.querySelectorAll("[data-minutes]").forEach(other => other.setAttribute("aria-pressed", other === button));
  showCurves();
  refresh();
};

// Slow and failed requests ---------------------------------------------------------------------------------------------------

const REFUSED = {
  "no-upstream": "no upstream of the right role was up and ready", "all-failed": "every attempt failed", "connection-lost": "the upstream broke off before it answered, and a write is not repeated",
  "first-byte-timeout": "no answer within the first_byte of its class", "body-too-large": "its body is above max_body of its class", "body-timeout": "the client stopped sending its body",
  "bad-request": "not HTTP that every server reads in the same way", "https-redirect": "it came by http to a listener that redirects to https", "https-redirect-body": "the same, with a body",
  loop: "it came back to geofront: an upstream's url points at the front door", "shutting-down": "geofront is stopping",
  "queue-full": "every slot was taken and the queue was full", "queue-timeout": "no slot came free within queue_timeout", shed: "it waited, and gave way in an overload",
  "rate-limit": "above a rate of control_flow", "job-gone": "the upstream that began this execution, or drew this document, does not serve", route: "a rule of [[routes]] refuses it", "public-path": "the path is not below geoserver.public_path", "unknown-host": "no cluster has this host", "unknown-path": "no cluster has this path", blacklist: "the client's address is shut out",
  "named-upstream-untrusted": "X-Geofront-Upstream from a peer that is not in trusted_identity", "named-upstream-no-administrator": "X-Geofront-Upstream from a user without ROLE_ADMINISTRATOR",
  "named-upstream-wrong-token": "X-Geofront-Upstream with a wrong token", "named-upstream-unknown": "X-Geofront-Upstream names no upstream",
  "named-upstream-read-only": "a change was meant for a replica", "named-upstream-unreachable": "the upstream that the request names accepts no connection", "local-fault": "this machine had no file descriptor, port or memory left",
  "answer-head-too-large": "the head of the answer is too long", "bad-answer": "the upstream's answer was not HTTP that every client reads in the same way",
  "request-line": "its request line is malformed", method: "its method is longer than 32 bytes", "method-refused": "CONNECT or TRACE", target: "its target is neither a path nor an http URL",
  "target-byte": "its target has a character that has to be percent-encoded", version: "an HTTP version other than 1.0 and 1.1", "target-too-long": "its request line is too long",
  "head-too-large": "its head is too long", "too-many-fields": "its head has too many fields", "line-end": "a line that does not end in CR LF", "folded-field": "a folded header line",
  "field-name": "a wrong character in the name of a header field", "field-value": "a control character in a header field", "host-missing": "no Host", "host-repeated": "more than one Host",
  "host-invalid": "its Host is no name or address", "host-disagrees": "its Host is another one than in its URL", "nominated-field": "Connection names a field that identifies the client",
  "content-length": "its Content-Length is not one number", "transfer-encoding": "a Transfer-Encoding other than chunked", "length-and-chunks": "Content-Length beside Transfer-Encoding",
  chunk: "a malformed chunk in its body", trailers: "its trailers are malformed or too long",
  "http2-message": "malformed over HTTP/2", internal: "a fault of geofront's own: please report it",
};

// The access line in words.
function whyOf(r) {
  const parts = [], waited = r.queue_ms > 0 ? `waited ${millis(r.queue_ms)} for a slot` : "";
  if (r.end.startsWith("refused:")) parts.push(`refused: ${REFUSED[r.end.slice(8)] ?? r.end.slice(8)}`);
  else if (r.end === "client-too-slow") parts.push("the client read its answer too slowly");
  else if (r.end === "client-abort") parts.push("the client left before its answer was complete");
  else if (r.end === "upstream-reset") parts.push("the upstream broke off within its answer");
  else if (r.end === "timeout") parts.push("the upstream was too slow");
  else if (r.status >= 500) parts.push(`the upstream answered ${r.status}`);
  else if (r.first_byte_ms > r.total_ms / 2) parts.push(`slow: the first byte came after ${millis(r.first_byte_ms)}`);
  else if (waited && r.queue_ms > r.total_ms / 2) parts.push("slow: it waited longer than it took");
  else parts.push("slow: its answer took long to pass on, by its size or the client's line");
  if (waited) parts.push(waited);
  if (r.attempts > 1) parts.push(`${r.attempts} attempts`);
  if (r.coalesced) parts.push(`shared the answer to ${r.coalesced}`);
  return parts.join("; ");
}

const TAIL_SHOWN = 60, TAIL_KEPT = 500;
let tail = [], tailSequence = 0, hasTail = true;

async function showTail() {
  if (!hasTail) return;
  const response = await call(`/api/requests?after=${tailSequence}`, { signal: AbortSignal.timeout(5000) });
  if (!response.ok) return void (hasTail = response.status !== 404);
  const answer = await response.json();
  byId("requests").hidden = false;
  if (answer.sequence < tailSequence) tail = [];
  const isNew = answer.sequence !== tailSequence || !tailSequence;
  tailSequence = answer.sequence;
  tail = [...tail, ...answer.requests].slice(-TAIL_KEPT);
  byId("tail-note").textContent = answer.left_out ? `${answer.left_out.toLocaleString()} more were too many to keep; the access log has them.` : "";
  // The part that a person reads stays in place until there is news.
  if (isNew) fillTail();
}

function fillTail() {
  const wanted = byId("find").value.trim().toLowerCase();
  const found = tail.filter(r => !wanted || [r.id, r.path, r.upstream, r.class, r.layer, r.user, r.client, r.end, whyOf(r)].some(text => text?.toLowerCase().includes(wanted))).slice(-TAIL_SHOWN).reverse();
  byId("tail").replaceChildren(...found.map(r => html("tr", {},
    html("td", {}, html("time", { dateTime: r.time, title: r.time, textContent: new Date(r.time).toLocaleTimeString() })),
    html("td", {}, html("code", { className: "path", textContent: `${r.method} ${r.path}`, title: r.path }), html("button", { className: "link", textContent: "Explain", ariaLabel: `Explain ${r.method} ${r.path}`, onclick: () => explain(r.method, r.path) }), html("div", { className: "soft" }, `${r.class}${r.layer ? `, ${r.layer}` : ""} · from ${r.client}${r.user ? ` (${r.user})` : ""} · `, html("code", { textContent: r.id }))),
    html("td", { className: `number ${r.status >= 500 || r.status === null ? "is-error" : ""}`, textContent: r.status ?? "none" }),
    html("td", { className: "number", textContent: millis(r.total_ms) }),
    html("td", { textContent: r.upstream ?? "" }),
    html("td", { textContent: whyOf(r) }))));
  if (!found.length) byId("tail").append(html("tr", {}, html("td", { colSpan: 6, className: "soft", textContent: wanted ? "None of the kept requests. The access log has every request: look for its id there." : "None since geofront started." })));
}
byId("find").oninput = fillTail;

// Events ---------------------------------------------------------------------------------------------------------------------

const TONES = { ejected: "warn", "half-open": "warn", returned: "good", "catalog-fresh": "good", "catalog-reload-failed": "bad", "tiles-truncation-failed": "warn", "condition-began": "warn", "condition-ended": "good", stale: "warn" };
let stream = null, lastSeen = 0;

function matches(item) { return item.textContent.toLowerCase().includes(byId("filter").value.trim().toLowerCase()); }
byId("filter").oninput = () => [...byId("events").children].forEach(item => item.hidden = !matches(item));

function addEvent(event) {
  const events = byId("events");
  events.querySelector(".empty")?.remove();
  const health = event.text.startsWith("up") ? "good" : event.text.startsWith("down") ? "bad" : "idle";
  const tone = TONES[event.kind] ?? (event.kind === "health" ? health : "idle");
  const date = new Date(event.time), isToday = date.toDateString() === new Date().toDateString();
  const time = html("time", { dateTime: event.time, title: date.toLocaleString(), textContent: isToday ? date.toLocaleTimeString() : date.toLocaleString() });
  const item = html("li", { className: tone }, html("i"), time, html("b", { textContent: event.upstream ?? "cluster" }), html("span", { textContent: event.text }));
  item.title = event.kind;
  item.hidden = !matches(item);
  events.prepend(item);
  while (events.children.length > EVENTS_SHOWN) events.lastChild.remove();
}

let soon = null;
function takeEvent(block) {
  const of = field => block.split("\n").find(line => line.startsWith(`${field}:`))?.slice(field.length + 1).trim();
  const data = of("data");
  if (!data) return;
  if (of("event") === "missed") return addEvent({ kind: "missed", time: new Date().toISOString(), upstream: null, text: `${JSON.parse(data).missed} changes were skipped: this page was too slow` });
  const event = JSON.parse(data);
  lastSeen = event.sequence;
  addEvent(event);
  // Many events are one look.
  soon ??= setTimeout(() => { soon = null; refresh(); }, 150);
}

// Not EventSource: that can send no token.
async function listen() {
  if (stream || document.hidden) return;
  stream = new AbortController();
  try {
    const response = await call("/api/events", { headers: lastSeen ? { "Last-Event-ID": lastSeen } : {}, signal: stream.signal });
    if (!response.ok) throw new Error();
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) break;
      const blocks = (text + value).split("\n\n");
      text = blocks.pop();
      blocks.forEach(takeEvent);
    }
  } catch { /* The poll of the status shows it. */ }
  stream = null;
  setTimeout(listen, RETRY_MS);
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden) stream?.abort();
  else { refresh(); listen(); }
});
setInterval(() => document.hidden || refresh(), POLL_MS);
// Once all scripts are here.
addEventListener("DOMContentLoaded", () => { refresh(); listen(); });
