// The overview of several clusters. Each has a status page of its own.
"use strict";

const byId = id => document.getElementById(id);
// A phone shows the label instead of the heading of the column.
const cell = (content, label) => { const td = document.createElement("td"); td.append(content); if (label) td.dataset.label = label; return td; };
const word = (text, tone) => Object.assign(document.createElement("strong"), { textContent: text, className: tone });

async function call(path) {
  const token = sessionStorage.getItem("token");
  const response = await fetch(path, { headers: token ? { Authorization: `Bearer ${token}` } : {}, cache: "no-store", signal: AbortSignal.timeout(5000) });
  if (response.status !== 401) return response.json();
  const given = window.prompt("This geofront requires its admin token. It is kept until you close this tab.");
  if (!given) throw new Error("a token is required");
  sessionStorage.setItem("token", given);
  return call(path);
}

function verdict(tone, text, remedy) {
  const box = byId("verdict"), [strong, p] = box.lastElementChild.children;
  box.className = `verdict ${tone}`;
  // A live region speaks when it changes, so it changes only when there is news.
  if (strong.textContent !== text) strong.textContent = text;
  if (p.textContent !== remedy) p.textContent = remedy;
  document.title = tone === "good" ? "geofront" : `${text} - geofront`;
}

function row(cluster) {
  const link = Object.assign(document.createElement("a"), { href: `clusters/${encodeURIComponent(cluster.name)}/`, textContent: cluster.name });
  const troubled = cluster.conditions.some(c => c.needs_operator) || cluster.last_reload?.outcome === "refused";
  const state = !cluster.ready ? word(cluster.not_ready, "bad") : troubled ? word("needs attention", "warn") : word("well", "good");
  const tr = document.createElement("tr");
  tr.dataset.cluster = cluster.name;
  tr.append(cell(link), cell(state), cell(cluster.hosts.join(", "), "Hosts"), cell(cluster.path || "/", "Path"), cell(`${cluster.eligible} of ${cluster.upstreams}`, "Upstreams that serve"), cell(String(cluster.in_flight), "In flight"), cell(String(cluster.waiting), "Waiting"));
  return tr;
}

function show(overview) {
  const { clusters } = overview, lost = clusters.filter(c => !c.ready).map(c => c.name);
  const refusals = [["front file", overview], ...clusters.map(c => [`cluster ${c.name}`, c])].filter(([, of]) => of.last_reload?.outcome === "refused");
  const troubled = clusters.filter(c => c.conditions.some(c => c.needs_operator)).map(c => c.name);
  const own = overview.conditions.find(c => c.needs_operator);
  if (overview.stopping) verdict("idle", "geofront is stopping.", "Running requests finish; new ones should go elsewhere.");
  else if (lost.length) verdict("bad", `No request is served by: ${lost.join(", ")}.`, "The page of the cluster has the cause.");
  else if (own) verdict("warn", own.text, own.remedy);
  else if (refusals.length) verdict("warn", "A configuration was refused.", "The one before it stays in force.");
  else if (troubled.length) verdict("warn", `A condition needs an operator: ${troubled.join(", ")}.`, "The page of the cluster has the cause and the remedy.");
  else verdict("good", "All clusters serve requests.", "");
  byId("facts").textContent = `version ${overview.version}, ${clusters.length} clusters`;
  byId("refused").hidden = !refusals.length;
  byId("refused").querySelector("pre").textContent = refusals.map(([name, of]) => `${name}:\n${of.last_reload.error}`).join("\n\n");
  byId("clusters").replaceChildren(...clusters.map(row));
}

async function refresh() {
  try {
    show(await call("api/clusters"));
  } catch (error) {
    verdict("bad", "geofront does not answer.", String(error.message ?? error));
  }
  setTimeout(refresh, 2000);
}
refresh();
