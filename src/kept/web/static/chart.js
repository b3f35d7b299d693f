// Draws the charts of a page. A <div class="chart"> names its specifications: data-spec is the id of
// a <script type="application/json"> with a list of them; data-charts is an address that answers
// {charts: [...], summary}, and gets the query of the page. Colours are variables of kept.css.
"use strict";
{
  const OPTIONS = {
    ast: true, actions: false, defaultStyle: false, renderer: "svg", logLevel: 1,
    tooltip: { disableDefaultStyle: true },
  };
  const held = new WeakMap(); // element -> {text, views, turn}

  function of(element) {
    if (!held.has(element)) held.set(element, { text: "", views: [], turn: 0 });
    return held.get(element);
  }

  // A point opens its version; with the shift key it selects the row.
  function open(element, event, item) {
    const number = (item?.datum?.datum ?? item?.datum)?.n;
    if (!Number.isInteger(number) || event.pointerType === "touch") return;
    const box = document.querySelector(`tr[data-version="${number}"] input[type=checkbox]`);
    if (event.shiftKey) box?.click();
    else if (element.dataset.open) location.href = element.dataset.open.replace("{n}", number);
  }

  async function draw(element, specs) {
    const state = of(element);
    const text = JSON.stringify(specs);
    if (state.text === text || !window.vegaEmbed) return;
    const turn = ++state.turn;
    state.text = text;
    const views = [];
    const room = document.createElement("div"); // measured, but not seen until it is complete
    room.className = "drawing";
    element.append(room);
    room.append(...specs.map(() => document.createElement("div"))); // all, so that widths are known
    for (const [number, spec] of specs.entries()) {
      const place = room.children[number];
      const { view } = await window.vegaEmbed(place, spec, OPTIONS);
      await view.resize().runAsync(); // now the room that labels take is known
      view.addEventListener("click", (event, item) => open(element, event, item));
      views.push(view);
    }
    if (turn !== state.turn) { // a newer one has begun meanwhile
      views.forEach((view) => view.finalize());
      room.remove();
      return;
    }
    state.views.forEach((view) => view.finalize());
    state.views = views;
    room.className = "drawn";
    element.replaceChildren(room);
    element.dispatchEvent(new CustomEvent("kept-drawn", { bubbles: true }));
  }

  async function load(element) {
    const answer = await fetch(element.dataset.charts + location.search);
    if (!answer.ok) return; // the page says what is wrong
    const found = await answer.json();
    element.setAttribute("aria-label", found.summary);
    await draw(element, found.charts);
  }

  function show(element) {
    const details = element.closest("details:not([open])");
    if (details) return; // drawn when it opens: now it has no width
    const script = document.getElementById(element.dataset.spec ?? "");
    if (script) draw(element, JSON.parse(script.textContent));
    else if (element.dataset.charts && !of(element).text) load(element);
  }

  // A picture for a file, where no style sheet gives the variables their colours.
  async function save(element) {
    const style = getComputedStyle(document.documentElement);
    const colour = (whole, name, usual) => style.getPropertyValue(name).trim() || usual || "gray";
    for (const [number, view] of of(element).views.entries()) {
      const text = (await view.toSVG()).replace(/var\((--[\w-]+)(?:,\s*([^()]+))?\)/g, colour);
      const link = document.createElement("a");
      link.href = URL.createObjectURL(new Blob([text], { type: "image/svg+xml" }));
      link.download = `chart-${number + 1}.svg`;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
    }
  }

  document.querySelectorAll("[data-save]").forEach((button) => {
    button.hidden = false;
    button.addEventListener("click", () => save(document.getElementById(button.dataset.save)));
  });

  const showAll = () => document.querySelectorAll(".chart").forEach(show);
  const loadAll = () => document.querySelectorAll(".chart[data-charts]").forEach(load);
  showAll();
  document.addEventListener("toggle", showAll, true);
  for (const name of ["kept-view", "kept-update"]) {
    document.addEventListener(name, () => { loadAll(); showAll(); });
  }
}
