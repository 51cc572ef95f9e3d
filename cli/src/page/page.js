// Keeps the page current: fetches the part that changes, and changes only what differs, so that the focus and
// the selection stay.
"use strict";

const EVERY_MS = 1000;
const PATIENCE_MS = 4000;
const page = document.getElementById("page");
const stale = document.getElementById("stale");
const said = document.getElementById("said");

function changeAttributes(now, next) {
  for (const { name } of [...now.attributes]) {
    if (!next.hasAttribute(name)) now.removeAttribute(name);
  }
  for (const { name, value } of next.attributes) {
    if (now.getAttribute(name) !== value) now.setAttribute(name, value);
  }
}

// Name by which a child is known among its siblings, if it has an id.
function key(child) {
  return child.id ? `${child.nodeName}#${child.id}` : null;
}

// A child with an id stays the same element while it is there, wherever its neighbours go: a button that somebody is
// about to press keeps its command.
function change(now, next) {
  const keys = new Set([...next.childNodes].map(key));
  const known = new Map();
  for (const child of [...now.children]) {
    if (key(child) && !keys.has(key(child))) child.remove();
    else if (key(child)) known.set(key(child), child);
  }
  let at = now.firstChild;
  for (const child of [...next.childNodes]) {
    const same = () => at && !key(at) && at.nodeName === child.nodeName;
    const old = key(child) ? known.get(key(child)) : same() ? at : null;
    if (!old) {
      now.insertBefore(child, at);
      continue;
    }
    if (old === at) at = at.nextSibling;
    else now.insertBefore(old, at);
    if (old.nodeType === Node.ELEMENT_NODE) {
      changeAttributes(old, child);
      change(old, child);
    } else if (old.data !== child.data) {
      old.data = child.data;
    }
  }
  while (at) {
    const gone = at;
    at = at.nextSibling;
    gone.remove();
  }
}

// Tells a screen reader what has changed, once.
let told = "";
function say(words) {
  if (told === words) return;
  told = words;
  said.textContent = words;
}

function answer() {
  return document.getElementById("answer").dataset.say;
}

function isStale(since) {
  // An alert is read again when its words change, even to the same ones.
  if (since && stale.hidden) stale.querySelector("span").textContent = since;
  stale.hidden = !since;
  document.body.classList.toggle("stale", Boolean(since));
}

// Returns the part of the page that changes; null while the process does not answer.
async function ask() {
  try {
    const live = await fetch("/page/live", { cache: "no-store", signal: AbortSignal.timeout(PATIENCE_MS) });
    if (live.status === 401) location.assign("/login");
    return live.ok ? await live.text() : null;
  } catch {
    return null;
  }
}

async function refresh() {
  const live = await ask();
  if (live === null) {
    isStale(document.getElementById("as-of").textContent);
    return;
  }
  change(page, new DOMParser().parseFromString(live, "text/html").body);
  isStale(null);
  say(answer());
}

async function keep() {
  for (;;) {
    await new Promise((wake) => setTimeout(wake, EVERY_MS));
    if (!document.hidden) await refresh();
  }
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("button[data-copy]");
  if (!button) return;
  const command = button.parentElement.querySelector("code");
  try {
    await navigator.clipboard.writeText(command.textContent);
    said.textContent = `Copied: ${command.textContent}`;
    button.dataset.copy = "done";
  } catch {
    // Without the right to the clipboard, the command is selected for the reader to copy.
    getSelection().selectAllChildren(command);
  }
});

say(answer());
keep();
