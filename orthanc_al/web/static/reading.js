// The one script: news without reloading, reading by keys, and a word on what was signed. Without it the
// page reloads itself and its forms do the same.
"use strict";

const live = document.getElementById("live");
const stale = document.getElementById("stale");
const told = document.getElementById("told");
let answered = new Date();
let asking = false;
let again = false;
let events = null;
let last = null; // the study that was signed last, to be put back

// --- news -------------------------------------------------------------------------------------------

function busy() {
  // Text that is being marked to be copied, or a button that is being pressed, must stay where it is.
  const selection = document.getSelection();
  return document.hidden || (!selection.isCollapsed && live.contains(selection.anchorNode))
    || live.querySelector("button:active, a:active") !== null;
}

function put(html) {
  // Rows that did not change stay: their pictures are not asked for again, and focus and mark are kept.
  const fresh = document.createElement("template");
  fresh.innerHTML = html;
  const focused = live.contains(document.activeElement) ? document.activeElement : null;
  const row = focused?.closest("tr");
  const place = rows().indexOf(row);
  const old = new Map(rows().map((one) => [one.id, one]));
  for (const one of fresh.content.querySelectorAll("tr[id]")) {
    const known = old.get(one.id);
    if (known && known.dataset.html === one.outerHTML) one.replaceWith(known);
    else {
      one.dataset.html = one.outerHTML;
      const film = known?.querySelector(".film img");
      if (film && film.getAttribute("src") === one.querySelector(".film img").getAttribute("src")) {
        one.querySelector(".film img").replaceWith(film);
      }
    }
  }
  live.replaceChildren(fresh.content);
  if (!focused || document.activeElement === focused) return;
  const same = focused.id && document.getElementById(focused.id);
  const next = place >= 0 && (document.getElementById(row.id) || rows()[Math.min(place, rows().length - 1)]);
  (same || (live.contains(focused) && focused) || next || live).focus?.({ preventScroll: true });
}

async function refresh() {
  if (asking) { again = true; return; }
  if (busy()) return;
  asking = true;
  try {
    const answer = await fetch(live.dataset.source, { signal: AbortSignal.timeout(10000), cache: "no-store" });
    if (!answer.ok) throw new Error(String(answer.status));
    put(await answer.text());
    answered = new Date();
    stale.hidden = true;
  } catch {
    stale.textContent = `This list is of ${answered.toLocaleTimeString()}: the service does not answer.`;
    stale.hidden = false;
  } finally {
    asking = false;
    if (again) { again = false; refresh(); }
  }
}

function listen() {
  events?.close();
  events = document.hidden ? null : new EventSource(live.dataset.events);
  events?.addEventListener("changed", refresh);
}

// --- reading ----------------------------------------------------------------------------------------

function rows() { return live ? [...live.querySelectorAll("tbody tr[id]")] : []; }

function marked() { return document.activeElement?.closest?.("tbody tr[id]") ?? null; }

function mark(step) {
  const all = rows();
  const at = all.indexOf(marked());
  const next = all[at < 0 ? 0 : Math.min(all.length - 1, Math.max(0, at + step))];
  next?.focus();
  next?.scrollIntoView({ block: "nearest" });
}

function tell(text, alarm = false) {
  told.className = `banner ${alarm ? "alarm" : "told"}`;
  const line = document.createElement("p");
  line.textContent = text;
  told.replaceChildren(line);
  if (last && !alarm) {
    const button = document.createElement("button");
    button.textContent = "Put it back";
    button.addEventListener("click", putBack);
    told.append(button);
  }
  told.hidden = false;
}

async function post(path, said) {
  const answer = await fetch(path, {
    method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(said),
    signal: AbortSignal.timeout(15000),
  });
  const content = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(typeof content.detail === "string" ? content.detail : "It was refused.");
  return content;
}

async function say(form, value, words) {
  if (form.dataset.sent) return; // a second click on the way
  form.dataset.sent = "yes";
  const uid = form.dataset.uid;
  const fields = Object.fromEntries(new FormData(form));
  const path = `/api/v1/studies/${encodeURIComponent(uid)}/`;
  const revision = Number(fields.revision);
  try {
    if (value === "done") await post(`${path}done`, { revision });
    else if (value === "reopen") await post(`${path}reopen`, {});
    else {
      const taken = await post(`${path}reads`, { value, revision, finding: fields.finding });
      if (taken.state === "conflict") words += ". Another reader says otherwise: it is to be decided";
    }
    last = value === "reopen" ? null : uid;
    tell({ reopen: "It is on the worklist again.", done: `Off the worklist, by ${reader()}.` }[value]
      ?? `${words}, signed by ${reader()}.`);
  } catch (error) {
    delete form.dataset.sent;
    tell(error.name === "TimeoutError" || error.name === "TypeError"
      ? "The service does not answer: nothing is known to be written. Try again." : error.message, true);
  }
  refresh();
}

async function putBack() {
  if (!last) return;
  try {
    await post(`/api/v1/studies/${encodeURIComponent(last)}/reopen`, {});
    last = null;
    tell("It is on the worklist again.");
  } catch (error) {
    tell(error.message, true);
  }
  refresh();
}

function reader() { return document.querySelector("#who b")?.textContent ?? ""; }

function press(value) {
  const row = marked();
  if (!row) { tell("Mark a study first: j marks the first one.", true); return; }
  const button = row.querySelector(`button[value="${value}"]`);
  const form = row.querySelector("form.say");
  if (!live.dataset.reader) { document.getElementById("name")?.focus(); tell("Say first who reads.", true); return; }
  if (button) button.click();
  else if (form && value === "done") say(form, "done", "Done");
}

const keys = {
  j: () => mark(1), k: () => mark(-1), c: () => press("present"), r: () => press("absent"),
  u: () => press("undetermined"), d: () => press("done"), z: putBack,
  o: () => marked()?.querySelector('[id^="open-"]')?.click(),
  e: () => marked()?.querySelector('[id^="study-"]')?.click(),
  "/": () => document.querySelector('[type="search"]').focus(),
  "?": () => document.getElementById("keys").showModal(),
};

function onKey(event) {
  const typing = event.target.closest("input, select, textarea, dialog");
  if (typing || event.ctrlKey || event.metaKey || event.altKey || event.repeat && !"jk".includes(event.key)) return;
  if (event.key === "Enter" && event.target.matches("tr")) { event.preventDefault(); keys.e(); }
  if (!(event.key in keys)) return;
  event.preventDefault();
  keys[event.key]();
}

function onSubmit(event) {
  const form = event.target;
  if (!form.matches("form.say") || !live.dataset.reader) return; // the page asks for the name
  event.preventDefault();
  const value = event.submitter.value;
  const name = new FormData(form).get("finding")?.replaceAll("_", " ");
  say(form, value, value === "done" ? "Done" : `${event.submitter.firstChild.textContent.trim()}: ${name}`);
}

if (live) {
  for (const row of rows()) row.dataset.html = row.outerHTML;
  listen();
  setInterval(() => {
    if (events?.readyState !== EventSource.OPEN || Date.now() - answered > 10000 || !stale.hidden) refresh();
  }, Number(live.dataset.seconds) * 1000);
  document.addEventListener("visibilitychange", () => { listen(); refresh(); });
  document.addEventListener("keydown", onKey);
  live.addEventListener("submit", onSubmit);
  const help = document.getElementById("help");
  help.hidden = false;
  help.addEventListener("click", keys["?"]);
}
