// Headless Chromium, driven over a pipe by its own protocol: no library and no port.
import { spawn } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";

export const pause = milliseconds => new Promise(done => setTimeout(done, milliseconds));

// { send, open, close }: a command, a new page, the end.
export async function startBrowser() {
  const profile = fs.mkdtempSync(path.join(os.tmpdir(), "geofront-chromium-"));
  const flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run", "--remote-debugging-pipe", `--user-data-dir=${profile}`, "about:blank"];
  const browser = spawn("chromium", flags, { stdio: ["ignore", "ignore", "ignore", "pipe", "pipe"] });
  const [, , , commands, answers] = browser.stdio, waiting = new Map(), listeners = [];
  let number = 0, text = "";
  answers.on("data", part => {
    const whole = (text + part).split("\0");
    text = whole.pop();
    for (const message of whole.map(JSON.parse)) {
      waiting.get(message.id)?.(message);
      waiting.delete(message.id);
      if (message.method) listeners.forEach(listener => listener(message));
    }
  });
  const send = (method, params = {}, sessionId) => new Promise((done, fail) => {
    waiting.set(++number, message => message.error ? fail(new Error(`${method}: ${message.error.message}`)) : done(message.result));
    commands.write(`${JSON.stringify({ id: number, method, params, sessionId })}\0`);
  });
  const close = async () => {
    const ended = new Promise(done => browser.on("exit", done));
    await send("Browser.close");
    await ended;
    // Its helpers may still write for a moment.
    await fs.promises.rm(profile, { recursive: true, force: true, maxRetries: 20, retryDelay: 50 });
  };
  const open = (url, look) => openPage({ send, listeners }, url, look);
  return { send, open, close };
}

// A page of its own. `problems` collects errors of its scripts and refusals of its content policy, `requests` the URLs that it loads.
async function openPage(browser, url, { width = 1400, height = 900, dark = false } = {}) {
  const { targetId } = await browser.send("Target.createTarget", { url: "about:blank" });
  const { sessionId } = await browser.send("Target.attachToTarget", { targetId, flatten: true });
  const send = (method, params) => browser.send(method, params, sessionId), problems = [], requests = [];
  browser.listeners.push(({ method, params, sessionId: from }) => {
    if (from !== sessionId) return;
    if (method === "Runtime.exceptionThrown") problems.push(params.exceptionDetails.exception?.description ?? params.exceptionDetails.text);
    if (method === "Network.requestWillBeSent") requests.push(params.request.url);
    if (method === "Runtime.consoleAPICalled" && params.type === "error") problems.push(params.args.map(arg => arg.value ?? arg.description).join(" "));
    if (method === "Log.entryAdded" && params.entry.level === "error") problems.push(`${params.entry.text} ${params.entry.url ?? ""}`);
  });
  await send("Runtime.enable");
  await send("Log.enable");
  await send("Network.enable");
  await send("Emulation.setDeviceMetricsOverride", { width, height, deviceScaleFactor: 1, mobile: width < 500 });
  await send("Emulation.setEmulatedMedia", { features: [{ name: "prefers-color-scheme", value: dark ? "dark" : "light" }] });
  await send("Page.navigate", { url });
  // The value of an expression, awaited.
  const evaluate = async expression => {
    const { result, exceptionDetails } = await send("Runtime.evaluate", { expression, awaitPromise: true, returnByValue: true });
    if (exceptionDetails) throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
    return result.value;
  };
  // Waits until an expression is true, and returns its value.
  const until = async (what, expression, limit = 60000) => {
    for (const end = Date.now() + limit; ;) {
      const value = await evaluate(expression).catch(() => false);
      if (value) return value;
      if (Date.now() > end) throw new Error(`waited ${limit / 1000} s in vain until ${what}`);
      await pause(50);
    }
  };
  const key = async (name, code = name) => {
    for (const type of ["keyDown", "keyUp"]) await send("Input.dispatchKeyEvent", { type, key: name, code, windowsVirtualKeyCode: { Tab: 9, Enter: 13, Escape: 27, ArrowLeft: 37, ArrowRight: 39 }[name], text: name === "Enter" ? "\r" : undefined });
  };
  // A picture of the window, or with `whole` of the page down to that height.
  const photograph = async (file, whole) => {
    const { cssContentSize } = await send("Page.getLayoutMetrics");
    const clip = whole && { x: 0, y: 0, width, height: Math.min(cssContentSize.height, whole), scale: 1 };
    const { data } = await send("Page.captureScreenshot", { format: "png", captureBeyondViewport: Boolean(whole), clip });
    fs.writeFileSync(file, Buffer.from(data, "base64"));
  };
  const close = () => browser.send("Target.closeTarget", { targetId });
  return { send, evaluate, until, key, photograph, close, problems, requests };
}
