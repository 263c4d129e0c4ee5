// Asks for the live part of the worklist again and again, and says so when no answer comes: an old
// worklist must not look like a new one. Without scripts the page reloads itself.
"use strict";

const live = document.getElementById("live");
const stale = document.getElementById("stale");
const period = Number(live.dataset.seconds) * 1000;
let answered = new Date();
let shown = "";
let asking = false;

function busy() {
  // Text that is being marked to be copied, or a button that is being pressed, must stay where it is.
  const selection = document.getSelection();
  return document.hidden || asking || (!selection.isCollapsed && live.contains(selection.anchorNode))
    || live.querySelector("button:active, a:active") !== null;
}

function put(html) {
  if (html === shown) return;
  shown = html;
  const focused = live.contains(document.activeElement) ? document.activeElement.id : "";
  live.innerHTML = html;
  if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
}

async function refresh() {
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
  }
}

setInterval(refresh, period);
document.addEventListener("visibilitychange", refresh);
