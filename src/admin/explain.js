// The form that explains a request, and the state of the configuration.
"use strict";

// An upstream as it is now, for the decision.
function destination(name) {
  const u = latest?.upstreams.find(other => other.name === name);
  if (!u) return html("span", { className: "pill idle", textContent: name });
  const [tone, word] = healthOf(u), flight = u.max_in_flight === null ? `${u.in_flight} in flight` : `${u.in_flight} of ${u.max_in_flight} in flight`;
  return html("span", { className: `pill ${u.eligible ? "good" : tone === "good" ? "warn" : tone}`, textContent: `${name}: ${u.eligible ? flight : tone === "good" ? "serves no requests now" : word}` });
}

const MISSING = { body: "The body of this request counts too: paste it under “Body, headers and client address”.", from: "Some rules depend on the client's address: without one, the client is in no network." };

function showExplained(answer) {
  const facts = answer.facts.filter(fact => fact.name !== "class").flatMap(fact => [html("dt", { textContent: fact.name }), html("dd", { textContent: fact.value })]);
  const now = answer.upstreams.length ? [html("dt", { textContent: "now" }), html("dd", { className: "pills" }, ...answer.upstreams.map(destination), ...(answer.otherwise.length ? [html("span", { className: "soft", textContent: "otherwise" }), ...answer.otherwise.map(destination)] : []))] : [];
  byId("explained").replaceChildren(
    html("p", {}, html("span", { className: `pill ${answer.refused ? "bad" : "good"}`, textContent: answer.refused ? "refused" : answer.class }), answer.refused ? ` a request of class ${answer.class}` : answer.rule ? ` by the rule ${answer.rule}` : ""),
    html("dl", {}, ...facts, ...now), ...answer.missing.map(what => html("p", { className: "soft", textContent: MISSING[what] ?? what })));
  byId("explained").hidden = false;
}

byId("explain-form").onsubmit = async event => {
  event.preventDefault();
  const text = id => byId(id).value.trim(), body = byId("explain-body").value;
  const order = { url: text("explain-url"), method: text("explain-method") || null, body: body || null, from: text("explain-from") || null, headers: byId("explain-headers").value.split("\n").map(line => line.trim()).filter(Boolean) };
  try {
    const { status, answer } = await post("/api/explain", order);
    if (status === 200) return showExplained(answer);
    throw new Error(answer.error);
  } catch (error) {
    byId("explained").replaceChildren(html("p", { className: "is-error", textContent: error.message }));
    byId("explained").hidden = false;
  }
};

// A listed request, into the form.
function explain(method, url) {
  const choice = byId("explain-method"), known = [...choice.options].some(option => option.value === method);
  choice.value = known ? method : "";
  byId("explain-url").value = url;
  byId("explain-title").scrollIntoView({ block: "start" });
  byId("explain-title").focus();
  byId("explain-form").requestSubmit();
}

function showConfiguration({ revision, last_reload: last }) {
  const [pill, line] = byId("config").querySelector(".line").children, ago = last && `${span(last.ago_seconds)} ago`;
  const [tone, word, text] =
    !last ? ["good", "in force", `Revision ${revision}, as geofront started with it.`] :
    last.outcome === "refused" ? ["bad", "refused", `The file was refused ${ago}, for the reason at the top of this page. Revision ${revision} stays in force.`] :
    last.outcome === "applied" ? ["good", "in force", `Revision ${revision}, read ${ago}. It changed ${plural(last.changes.length, "thing")}:`] :
    ["good", "in force", `Revision ${revision}. The file was read ${ago}, and had what was in force already.`];
  pill.className = `pill ${tone}`;
  pill.textContent = word;
  line.textContent = text;
  byId("config-changes").hidden = last?.outcome !== "applied";
  byId("config-changes").textContent = last?.changes?.join("\n") ?? "";
}
