"use strict";
// The page shows what the server sends: drawings, verdicts, stories. It decides nothing about the lab.
const $ = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";
const tabs = ["topology", "bgp", "blocks"];
const mark = { ok: "✓", holds: "✓", bad: "✗", broken: "✗", refused: "✗", unknown: "?", planned: "·" };
const tone = { ok: "good", holds: "good", bad: "wrong", broken: "wrong", refused: "wrong", unknown: "maybe", planned: "maybe" };
const still = matchMedia("(prefers-reduced-motion: reduce)");

let frame = null;     // what was sent last
const drawings = {};  // by tab
let tab = "topology";
let selected = null;  // {kind, name}
let focused = null;   // id of what has the one tab stop of the picture
let journey = null;   // {way, story, step, shown}
let asking = 0;       // the newest question; answers to older ones are dropped

// el makes an element; text is never markup.
function el(tag, attrs, ...children) {
  const e = document.createElement(tag);
  for (const [k, v] of Object.entries(attrs || {})) {
    if (k.startsWith("on")) e.addEventListener(k.slice(2), v);
    else if (v !== undefined && v !== false) e.setAttribute(k, v === true ? "" : v);
  }
  e.append(...children.filter((c) => c !== null && c !== undefined && c !== false));
  return e;
}

function clock(at) { return new Date(at).toLocaleTimeString([], { hour12: false }); }

// --- the picture

function render() {
  const host = $("picture");
  const text = drawings[tab];
  if (!text) return;
  const hadFocus = host.contains(document.activeElement);
  const doc = new DOMParser().parseFromString(text, "image/svg+xml");
  const svg = document.importNode(doc.documentElement, true);
  host.replaceChildren(svg);
  host.classList.toggle("few", frame.machines.length < 4);
  host.classList.toggle("many", frame.machines.length > 13);
  const things = actives();
  for (const g of things) {
    g.setAttribute("role", "button");
    g.setAttribute("tabindex", "-1");
    const title = g.querySelector("title");
    if (title) g.setAttribute("aria-label", title.textContent);
  }
  const stop = things.find((g) => g.id === focused) || things[0];
  if (stop) {
    stop.setAttribute("tabindex", "0");
    if (hadFocus) stop.focus({ preventScroll: true });
  }
  for (const id of frame.fresh) document.getElementById(id)?.classList.add("fresh");
  highlight();
  overlay();
}

function actives() { return [...$("picture").querySelectorAll('[id^="machine-"], [id^="workload-"]')]; }

function highlight() {
  for (const g of actives()) {
    const on = selected !== null && g.id === selected.kind + "-" + selected.name;
    g.classList.toggle("selected", on);
    g.setAttribute("aria-pressed", on);
  }
}

function choose(g, second) {
  const [, kind, name] = /^(machine|workload)-(.*)$/.exec(g.id);
  if (second && kind === "workload" && selected?.kind === "workload" && selected.name !== name) {
    send(selected.name, name);
    return;
  }
  journey = null;
  selected = { kind, name };
  highlight();
  overlay();
  details();
  if (kind === "workload") explainWorkload();
}

// The arrow keys go to the nearest thing in their direction.
function toward(from, key) {
  const [dx, dy] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[key];
  const mid = (g) => { const b = g.getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2]; };
  const [x, y] = mid(from);
  let best = null, least = Infinity;
  for (const g of actives()) {
    if (g === from) continue;
    const [gx, gy] = mid(g);
    const along = (gx - x) * dx + (gy - y) * dy, across = Math.abs((gx - x) * dy) + Math.abs((gy - y) * dx);
    const far = along + 2 * across;
    if (along > 1 && far < least) { least = far; best = g; }
  }
  return best;
}

$("picture").addEventListener("click", (e) => {
  const g = e.target.closest('[role="button"]');
  if (g) { roam(g); choose(g, e.shiftKey); }
});
$("picture").addEventListener("keydown", (e) => {
  const g = e.target.closest?.('[role="button"]');
  if (!g) return;
  if (e.key === "Enter" || e.key === " ") { e.preventDefault(); choose(g, e.shiftKey); }
  if (e.key.startsWith("Arrow")) {
    e.preventDefault();
    const next = toward(g, e.key);
    if (next) { roam(next); next.focus(); }
  }
});
function roam(g) {
  for (const other of actives()) other.setAttribute("tabindex", other === g ? "0" : "-1");
  focused = g.id;
}

function show(name, focus) {
  tab = name;
  for (const t of tabs) {
    const b = $("tab-" + t), on = t === name;
    b.setAttribute("aria-selected", on);
    b.tabIndex = on ? 0 : -1;
    if (on && focus) b.focus();
  }
  $("picture").setAttribute("aria-labelledby", "tab-" + name);
  if (frame) render();
}
for (const t of tabs) {
  $("tab-" + t).addEventListener("click", () => show(t));
  $("tab-" + t).addEventListener("keydown", (e) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[e.key];
    if (step) { e.preventDefault(); show(tabs[(tabs.indexOf(tab) + step + tabs.length) % tabs.length], true); }
  });
}
addEventListener("keydown", (e) => { if (e.key === "Escape" && selected) close(); });

function close() {
  selected = journey = null;
  highlight();
  overlay();
  details();
  document.getElementById(focused)?.focus();
}

// --- the panel

function details() {
  if (!frame) return;
  const panel = $("panel");
  if (journey) { panel.replaceChildren(...packetPanel()); return; }
  if (selected?.kind === "machine") { panel.replaceChildren(...machinePanel()); return; }
  if (selected?.kind === "workload") { panel.replaceChildren(...workloadPanel()); return; }
  panel.replaceChildren(...overview());
}

function heading(text) { return el("div", { class: "head" }, el("h2", {}, text), el("button", { onclick: close, "aria-label": "close the details" }, "Close")); }

function tryIt(command) {
  const b = el("button", { onclick: async () => { try { await navigator.clipboard.writeText(command); b.textContent = "copied"; } catch { b.textContent = "select it"; } } }, "copy");
  return el("div", { class: "try" }, el("code", {}, command), b);
}

function unmet(r) {
  return el("li", { class: "card" + (r.state === "unknown" ? "" : " wrong-edge") },
    el("p", {}, el("b", { class: tone[r.state] }, mark[r.state] + " " + r.expected)),
    el("p", {}, r.found),
    r.left ? el("p", { class: "dim" }, r.left) : r.mend ? el("p", { class: "dim" }, "verify " + r.mend) : null,
    r.try ? tryIt(r.try) : null);
}

function overview() {
  const parts = [];
  if (frame.concealed) parts.push(el("div", { class: "card" }, el("p", {}, frame.concealed)));
  else {
    const wrong = frame.stages.flatMap((s) => s.unmet);
    parts.push(el("h2", {}, wrong.length ? "What doesn't hold" : "All is well"));
    parts.push(el("ul", { class: "stages" }, ...frame.stages.map((s) => el("li", {}, el("span", { class: s.ok ? "good" : "wrong" }, s.ok ? "✓ " : "✗ "), s.name + " ", el("span", { class: "dim" }, String(s.count))))));
    const most = 12;
    parts.push(el("ul", { id: "unmet" }, ...wrong.slice(0, most).map(unmet)));
    if (wrong.length > most) parts.push(el("p", { class: "dim" }, `and ${wrong.length - most} more: go tool mage check`));
    if (wrong.length > 1) parts.push(el("p", { class: "dim" }, "The first is the cause rather than a consequence."));
  }
  parts.push(el("h3", {}, "What changed"));
  parts.push(frame.changes.length ? el("ul", { class: "changes", id: "changes" }, ...frame.changes.slice(0, 30).map((c) =>
    el("li", {}, el("time", {}, clock(c.at)), el("span", { class: tone[c.state] }, mark[c.state] + " " + c.text)))) : el("p", { class: "dim" }, "Nothing since this page looks."));
  return parts;
}

function table(head, rows) {
  return el("table", {}, el("thead", {}, el("tr", {}, ...head.map((h) => el("th", { scope: "col" }, h)))),
    el("tbody", {}, ...rows.map((r) => el("tr", {}, ...r.map((c, i) => el("td", { class: i === 0 ? "mono" : undefined }, c))))));
}

function machinePanel() {
  const m = frame.machines.find((x) => x.name === selected.name);
  if (!m) return [heading(selected.name), el("p", { class: "dim" }, "It isn't one of the lab's machines.")];
  const mine = frame.stages.flatMap((s) => s.unmet).filter((r) => r.machine === m.name);
  return [heading(m.name),
    el("p", {}, el("span", { class: "mono" }, m.address), " ", frame.concealed ? "" : el("span", { class: tone[m.state] }, mark[m.state] + " " + (m.why || "is well"))),
    el("ul", {}, ...mine.map(unmet)),
    m.routes ? el("h3", {}, "Routes, and who programmed each") : null,
    m.routes ? table(["route", "by"], m.routes.map((r) => [r.route, r.by])) : null,
    m.interfaces ? el("h3", {}, "Interfaces") : null,
    m.interfaces ? table(["interface", "addresses", ""], m.interfaces.map((i) => [i.name, (i.addresses || []).join(", "), `${i.type}, MTU ${i.mtu}${i.up ? "" : ", down"}`])) : null,
    m.containers ? el("h3", {}, "Containers") : null,
    m.containers ? table(["container", "image", ""], m.containers.map((c) => [c.name, c.image, c.status])) : null,
    el("h3", {}, "Look yourself"), tryIt("go tool mage ssh " + m.name)].filter(Boolean);
}

function workloads() { return frame.machines.flatMap((m) => m.workloads || []); }

function workloadPanel() {
  const w = workloads().find((x) => x.name === selected.name);
  const others = workloads().filter((x) => x.name !== selected.name && x.address);
  const to = el("select", { id: "to", "aria-label": "where the packet goes" }, ...others.map((x) => el("option", { value: x.name }, x.name)));
  const parts = [heading(selected.name)];
  if (w) parts.push(el("p", {}, el("span", { class: "mono" }, w.address || "no address"), " ", frame.concealed ? "" : el("span", { class: tone[w.state] }, mark[w.state] + " " + (w.why || "is plumbed"))));
  if (others.length && w?.address) parts.push(el("div", { class: "row" }, el("span", {}, "Send a packet to"), to, el("button", { id: "send", onclick: () => send(selected.name, to.value) }, "Send")));
  parts.push(el("div", { id: "said", class: "said", "aria-live": "polite" }, selected.said || el("p", { class: "dim" }, "asking …")));
  return parts;
}

function story(s) {
  const box = el("div", {});
  box.append(el("p", { class: "answer" }, s.answer));
  for (const p of s.parts || []) {
    if (p.title) box.append(el("h3", {}, p.title));
    for (const x of p.sentences || []) {
      box.append(el("p", { class: x.wrong ? "wrong" : x.unknown ? "maybe" : undefined }, x.text));
      if (x.evidence?.length) box.append(el("pre", { class: "mono" }, x.evidence.join("\n")));
      if (x.command) box.append(tryIt(x.command));
    }
  }
  return box;
}

async function ask(...words) {
  const response = await fetch("/explain", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(words) });
  if (!response.ok) return { error: await response.text() };
  return response.json();
}

async function explainWorkload() {
  const mine = ++asking, what = selected;
  let a;
  try { a = await ask("address", what.name); } catch (e) { a = { error: String(e) }; }
  if (mine !== asking || selected !== what) return;
  what.said = a.error ? el("p", { class: "maybe" }, a.error) : story(a.story);
  details();
}

// --- a packet

async function send(from, to) {
  const mine = ++asking;
  show("topology");
  journey = { from, to, step: 0, shown: 0, wait: "sending a packet, and watching it on its way …" };
  details();
  let a;
  try { a = await ask("packet", from, to); } catch (e) { a = { error: String(e) }; }
  if (mine !== asking || !journey) return;
  journey = a.error ? { from, to, wait: a.error } : { from, to, way: a.journey, story: a.story, step: 0 };
  details();
  if (!journey.way?.hops.length) return;
  if (still.matches) { journey.step = journey.way.hops.length - 1; overlay(); details(); } else play();
}

function packetPanel() {
  const j = journey, parts = [heading(`${j.from} → ${j.to}`)];
  if (!j.way) return [...parts, el("p", { class: "dim", role: "status" }, j.wait)];
  parts.push(el("p", { class: "answer " + (j.way.lost ? "wrong" : ""), role: "status" }, j.way.answer));
  const last = j.way.hops.length - 1;
  parts.push(el("div", { class: "row" },
    el("button", { id: "play", onclick: play }, "Play"),
    el("button", { id: "back", onclick: () => go(Math.max(0, j.step - 1)) }, "Back"),
    el("button", { id: "next", onclick: () => go(Math.min(last, j.step + 1)) }, "Next"),
    el("span", { class: "dim" }, `step ${j.step + 1} of ${last + 1}`)));
  parts.push(el("ol", { class: "steps" }, ...j.way.hops.map((h, i) => el("li", { "aria-current": i === j.step ? "step" : undefined },
    el("span", { class: "n" }, String(i + 1)), el("span", {}, `${h.workload || h.machine} ${h.out ? "sends it out by" : "gets it by"} ${h.link}`, el("br"), el("span", { class: "dim mono" }, `TTL ${h.ttl}, ${h.says}`))))));
  parts.push(el("h3", {}, "The whole story"), el("div", { class: "said" }, story(j.story)));
  return parts;
}

function go(step) {
  cancelAnimationFrame(journey.timer);
  const focus = document.activeElement?.id;
  journey.step = step;
  journey.part = 1;
  overlay();
  details();
  if (focus) $(focus)?.focus();
}

function play() {
  const j = journey, hop = 700;
  cancelAnimationFrame(j.timer);
  if (still.matches) { go(0); return; }
  const start = performance.now();
  let shown = -1;
  const tick = (now) => {
    if (journey !== j) return;
    const t = Math.max(0, now - start) / hop, step = Math.min(Math.floor(t), j.way.hops.length - 1);
    j.step = step;
    j.part = Math.min(1, t - step);
    overlay();
    if (step !== shown) {
      shown = step;
      const focus = document.activeElement?.id, top = $("panel").scrollTop;
      details();
      $("panel").scrollTop = top;
      if (focus) $(focus)?.focus({ preventScroll: true });
    }
    if (step < j.way.hops.length - 1 || j.part < 1) j.timer = requestAnimationFrame(tick);
  };
  j.timer = requestAnimationFrame(tick);
}

function svgEl(tag, attrs) {
  const e = document.createElementNS(SVG, tag);
  for (const [k, v] of Object.entries(attrs)) e.setAttribute(k, v);
  return e;
}

// along is where something is that has gone a part of a way.
function along(points, part) {
  const lengths = points.slice(1).map((p, i) => Math.hypot(p[0] - points[i][0], p[1] - points[i][1]));
  let left = part * lengths.reduce((a, b) => a + b, 0);
  for (let i = 0; i < lengths.length; i++) {
    if (left <= lengths[i] && lengths[i] > 0) {
      const k = left / lengths[i];
      return [points[i][0] + k * (points[i + 1][0] - points[i][0]), points[i][1] + k * (points[i + 1][1] - points[i][1])];
    }
    left -= lengths[i];
  }
  return points[points.length - 1];
}

// overlay draws the packet's way, as far as it has come, on the picture.
function overlay() {
  const svg = $("picture").querySelector("svg");
  if (!svg) return;
  svg.querySelector(".overlay")?.remove();
  const j = journey;
  if (!j?.way || tab !== "topology") return;
  const g = svgEl("g", { class: "overlay", "aria-hidden": "true" });
  const hops = j.way.hops;
  for (let i = 0; i <= j.step; i++) {
    const pts = hops[i].points || [];
    if (pts.length < 2 || i === j.step && (j.part ?? 1) < 1) continue;
    g.append(svgEl("path", { class: "trail" + (hops[i].back ? " back" : ""), d: "M" + pts.map((p) => p.join(" ")).join("L") }));
  }
  for (let i = 0; i <= j.step; i++) {
    const end = (hops[i].points || []).at(-1);
    if (!end || i === j.step) continue;
    const s = svgEl("g", { class: "step" }), n = svgEl("text", { x: end[0], y: end[1] + 3.5 });
    n.textContent = i + 1;
    s.append(svgEl("circle", { cx: end[0], cy: end[1], r: 8 }), n);
    g.append(s);
  }
  const pts = hops[j.step].points || [];
  if (pts.length) {
    const [x, y] = along(pts, j.part ?? 1);
    g.append(svgEl("circle", { class: "runner", cx: x, cy: y, r: 9 }));
    if (j.way.lost && j.step === hops.length - 1 && (j.part ?? 1) === 1) g.append(svgEl("path", { class: "lost", d: `M${x - 9} ${y + 15}l18 18m0 -18l-18 18` }));
  }
  svg.append(g);
}

// --- what the server sends

function take(f) {
  const before = frame;
  frame = f;
  Object.assign(drawings, f.drawings);
  document.title = (f.concealed ? "" : f.ok ? "✓ " : "✗ ") + f.lab;
  $("lab").textContent = f.lab;
  const verdict = f.error ? "can't look: " + f.error : f.concealed ? "a challenge is on" : (f.ok ? "✓ " : "✗ ") + f.verdict;
  if ($("verdict").textContent !== verdict) $("verdict").textContent = verdict;
  $("verdict").className = f.error || f.concealed ? "" : f.ok ? "good" : "wrong";
  $("seen").textContent = "seen " + clock(f.at);
  if (!before || f.drawings[tab] || f.fresh.length) render();
  const same = before && JSON.stringify([before.stages, before.changes, before.machines, before.concealed]) === JSON.stringify([f.stages, f.changes, f.machines, f.concealed]);
  if (same || journey || $("panel").contains(document.activeElement) && selected) return;
  const top = $("panel").scrollTop;
  details();
  $("panel").scrollTop = top;
}

let events = null;
function listen() {
  if (document.hidden || events) return;
  events = new EventSource("/events");
  events.onmessage = (e) => take(JSON.parse(e.data));
  events.onerror = () => { $("verdict").textContent = "nobody answers; is view still running?"; $("verdict").className = ""; };
}
// A page that nobody sees doesn't watch: then nobody looks at the lab.
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) { listen(); return; }
  events?.close();
  events = null;
});
listen();
