// What pages do in the browser: keys, copying, the theme, current times. Pages work without it.
"use strict";

const $ = (selector, root = document) => root.querySelector(selector);
const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];

// Keys ---------------------------------------------------------------------------------------
const rows = () => $$("table.rows tbody tr");

function move(step) {
  const all = rows();
  if (!all.length) return;
  const now = all.findIndex((row) => row.classList.contains("now"));
  const next = all[Math.min(Math.max(now + step, 0), all.length - 1)];
  all.forEach((row) => row.classList.toggle("now", row === next));
  $("a, input", next)?.focus({ preventScroll: true });
  next.scrollIntoView({ block: "nearest" });
}

const KEYS = {
  "/": () => { $("#search")?.focus(); $("#search")?.select(); },
  "?": () => $("#keys")?.showModal(),
  j: () => move(1),
  k: () => move(-1),
  x: () => $("tr.now input[type=checkbox]")?.click(),
  c: () => $("[data-compare]")?.click(),
};

document.addEventListener("keydown", (event) => {
  const types = event.target.matches("input:not([type=checkbox], [type=radio]), textarea, select");
  if (types || event.ctrlKey || event.metaKey || event.altKey || $("dialog[open]")) {
    if (types && event.key === "Escape") event.target.blur();
    return;
  }
  if (event.key in KEYS) {
    event.preventDefault();
    KEYS[event.key]();
  }
});
$("#help")?.addEventListener("click", KEYS["?"]);

// Copying ------------------------------------------------------------------------------------
document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  await navigator.clipboard.writeText(button.dataset.copy);
  button.classList.add("done");
  setTimeout(() => button.classList.remove("done"), 1500);
});

// Selected rows ------------------------------------------------------------------------------
document.addEventListener("change", (event) => {
  const row = event.target.closest("table.rows tr");
  if (row && event.target.matches("input[type=checkbox]")) {
    row.classList.toggle("selected", event.target.checked);
  }
});

// An address has no empty fields of a search.
document.addEventListener("formdata", (event) => {
  if (!event.target.matches("[role=search]")) return;
  for (const [name, value] of [...event.formData]) if (!value) event.formData.delete(name);
});

// The theme ----------------------------------------------------------------------------------
$("#theme")?.addEventListener("click", () => {
  const root = document.documentElement;
  const isDark = root.dataset.theme
    ? root.dataset.theme === "dark"
    : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = isDark ? "light" : "dark";
  try { localStorage.setItem("kept-theme", root.dataset.theme); } catch { /* not remembered */ }
  document.dispatchEvent(new CustomEvent("kept-theme"));
});

// Times --------------------------------------------------------------------------------------
const STEPS = [["year", 31557600], ["month", 2629800], ["day", 86400], ["hour", 3600], ["min", 60]];

function ago(time) {
  const passed = (Date.now() - Date.parse(time)) / 1000, seconds = Math.abs(passed);
  const side = passed > -1 ? "ago" : "from now";
  for (const [unit, length] of STEPS) {
    const count = Math.floor(seconds / length);
    if (count) return `${count} ${unit}${count === 1 || unit === "min" ? "" : "s"} ${side}`;
  }
  return `${Math.floor(seconds)} s ${side}`;
}

setInterval(() => {
  for (const time of $$("time[datetime]:not([data-clock])")) {
    const text = time.dateTime && ago(time.dateTime);
    if (text && text !== time.textContent) time.textContent = text;
  }
}, 5000);
