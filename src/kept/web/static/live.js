// Keeps an open page current. The server sends an event, the page asks for itself again, and the
// parts whose HTML has changed are brought up to date in place: focus, selection and scrolling stay.
// Afterwards "kept-update" is dispatched on the document. Elements with data-keep stay as they are.
"use strict";

(() => {
  const { live, runs } = document.body.dataset;
  if (!live || !window.EventSource) return;
  const [FIRST, LONGEST, BETWEEN] = [1000, 60000, 1000]; // milliseconds
  const note = document.getElementById("connection");
  const shown = /\/artifacts\/([^/]+)\//.exec(location.pathname)?.[1];
  let source = null, wait = FIRST, retry = 0, next = 0, isBusy = false, isStale = false;

  // Events -----------------------------------------------------------------------------------
  function connect() {
    disconnect();
    source = new EventSource(live);
    source.addEventListener("hello", () => { wait = FIRST; say(""); refresh(); });
    source.addEventListener("runs", refreshRuns);
    source.addEventListener("change", (event) => {
      const { artifacts } = JSON.parse(event.data);
      const own = shown && decodeURIComponent(shown);
      if (!own || artifacts.includes(own) || artifacts.includes("*")) refresh();
    });
    source.onerror = () => {
      disconnect();
      say("Not connected to the server. This page shows what it last knew; it tries again.");
      retry = setTimeout(connect, wait * (0.75 + Math.random() / 2));
      wait = Math.min(wait * 2, LONGEST);
    };
  }

  function disconnect() {
    clearTimeout(retry);
    source?.close();
    source = null;
  }

  function say(text) {
    if (!note || note.textContent === text) return;
    note.textContent = text;
    note.hidden = !text;
  }

  // A hidden page has no connection; when it is shown again, it catches up.
  const follow = () => { if (document.hidden) disconnect(); else if (!source) connect(); };
  document.addEventListener("visibilitychange", follow);
  addEventListener("pagehide", disconnect);
  addEventListener("pageshow", (event) => { if (event.persisted) follow(); });

  // The page again ---------------------------------------------------------------------------
  async function refresh() {
    isStale = true;
    if (isBusy) return;
    isBusy = true;
    while (isStale) {
      await new Promise((done) => setTimeout(done, next - performance.now()));
      isStale = false;
      const begun = performance.now();
      try { await update(); } catch { /* the connection says so */ }
      next = performance.now() + Math.max(BETWEEN, 4 * (performance.now() - begun));
    }
    isBusy = false;
  }

  async function update() {
    const answer = await fetch(location.href, { headers: { "X-Kept-Live": "1" } });
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    if (!answer.ok) {
      const why = page.querySelector(".message")?.textContent.trim() || answer.statusText;
      say(`This page cannot be brought up to date: ${why}`);
      return;
    }
    const parts = (root) => [...root.querySelectorAll("[data-part]")];
    const names = (root) => parts(root).map((part) => part.dataset.part).join("\n");
    const changed = names(document) === names(page)
      ? parts(page).map((to) => [document.querySelector(`[data-part="${CSS.escape(to.dataset.part)}"]`), to])
      : [[document.getElementById("main"), page.getElementById("main")]];
    changed.push([document.getElementById("running"), page.getElementById("running")]);
    const done = changed.filter(([from, to]) => from && to && put(from, to));
    document.title = page.title;
    if (done.length) {
      const detail = { parts: done.map(([from]) => from.dataset.part ?? from.id) };
      document.dispatchEvent(new CustomEvent("kept-update", { detail }));
    }
  }

  async function refreshRuns() {
    try {
      const answer = await fetch(runs);
      if (!answer.ok) return;
      const now = document.getElementById("running"), to = now.cloneNode(false);
      to.innerHTML = await answer.text();
      put(now, to);
    } catch { /* the connection says so */ }
  }

  function put(from, to) {
    const focused = document.activeElement, html = from.innerHTML, chosen = getSelection();
    const ends = [chosen.anchorNode, chosen.anchorOffset, chosen.focusNode, chosen.focusOffset];
    morph(from, to);
    if (focused?.isConnected && document.activeElement !== focused) focused.focus({ preventScroll: true });
    if (ends[0]?.isConnected && ends[2]?.isConnected && chosen.anchorNode !== ends[0]) {
      chosen.setBaseAndExtent(...ends); // a row that has moved loses it
    }
    return from.innerHTML !== html;
  }

  // Morphing: the smallest change that turns one element into another ----------------------
  const STATE = ["now", "selected"]; // classes of rows that the reader has chosen

  function morph(from, to) {
    if (from.isEqualNode(to)) return;
    if (from.nodeType !== Node.ELEMENT_NODE) { from.data = to.data; return; }
    if (from.hasAttribute("data-keep") && to.hasAttribute("data-keep")) return;
    const isSameTime = from.nodeName === "TIME" && from.dateTime && from.dateTime === to.dateTime;
    morphAttributes(from, to);
    if (!isSameTime) morphChildren(from, to);
  }

  function morphAttributes(from, to) {
    const chosen = STATE.filter((name) => from.classList.contains(name));
    for (const { name, value } of to.attributes) {
      if (from.getAttribute(name) !== value) from.setAttribute(name, value);
    }
    for (const { name } of [...from.attributes]) {
      if (!to.hasAttribute(name) && name !== "open") from.removeAttribute(name);
    }
    for (const name of chosen) from.classList.add(name);
  }

  const isSame = (from, to) => from.nodeType === to.nodeType && from.nodeName === to.nodeName;

  // What tells a child from its siblings: a row is known by its first link.
  function keyOf(node) {
    if (node.nodeType !== Node.ELEMENT_NODE) return "";
    const link = node.nodeName === "TR" ? node.querySelector("a[href]")?.getAttribute("href") : "";
    return node.id || node.dataset.key || link || "";
  }

  function morphChildren(from, to) {
    const wanted = new Set([...to.childNodes].map(keyOf));
    const known = new Map();
    for (const child of [...from.childNodes]) {
      const key = keyOf(child);
      if (key && (!wanted.has(key) || known.has(key))) child.remove();
      else if (key) known.set(key, child);
    }
    let at = from.firstChild;
    for (const child of to.childNodes) {
      const key = keyOf(child);
      const match = key ? known.get(key) : at && !keyOf(at) ? at : null;
      if (!match || !isSame(match, child)) {
        from.insertBefore(document.importNode(child, true), at);
        continue;
      }
      known.delete(key);
      if (match === at) at = at.nextSibling;
      else from.insertBefore(match, at);
      morph(match, child);
    }
    while (at) { const gone = at; at = at.nextSibling; gone.remove(); }
  }

  follow();
})();
