// The inputs of a page are its address. A change moves the address, and the parts of the page that
// depend on it are fetched and replaced, so nothing is typed twice and a link can be sent.
"use strict";
{
  const form = document.getElementById("view");
  let timer, control;

  function address() {
    const query = new URLSearchParams();
    for (const [name, value] of new FormData(form)) {
      if (value !== "" && !(name === "sort" && value === "-version")) query.append(name, value);
    }
    const text = query.toString();
    return location.pathname + (text && `?${text}`);
  }

  const chosen = () => [...document.querySelectorAll("input[name=select]:checked")];

  function replace(fresh) {
    const selected = new Set(chosen().map((box) => box.value));
    const now = document.querySelector("tr.now")?.dataset.version;
    for (const part of fresh.querySelectorAll("main [data-part]")) {
      const old = document.querySelector(`[data-part="${CSS.escape(part.dataset.part)}"]`);
      if (!old || old.outerHTML === part.outerHTML) continue;
      const left = old.scrollLeft;
      old.replaceWith(part);
      part.scrollLeft = left;
    }
    for (const box of document.querySelectorAll("input[name=select]")) {
      box.checked = selected.has(box.value);
      box.closest("tr").classList.toggle("selected", box.checked);
    }
    document.querySelector(`tr[data-version="${now}"]`)?.classList.add("now");
    for (const input of fresh.querySelectorAll("input[form=view]:is([type=checkbox], [type=radio])")) {
      const mine = document.querySelector(
        `input[form=view][name="${CSS.escape(input.name)}"][value="${CSS.escape(input.value)}"]`);
      if (mine) mine.checked = input.checked; // the usual metrics, if none is chosen
    }
  }

  async function update() {
    clearTimeout(timer);
    control?.abort();
    control = new AbortController();
    const to = address();
    history.replaceState(null, "", to);
    try {
      const answer = await fetch(to, { signal: control.signal });
      const text = await answer.text();
      replace(new DOMParser().parseFromString(text, "text/html"));
      document.dispatchEvent(new CustomEvent("kept-view"));
    } catch (error) {
      if (error.name !== "AbortError") location.assign(to); // the browser says what is wrong
    }
  }

  if (form) {
    document.querySelectorAll("[data-noscript]").forEach((button) => { button.hidden = true; });
    document.addEventListener("input", (event) => {
      if (event.target.form !== form) return;
      clearTimeout(timer);
      timer = setTimeout(update, event.target.matches("input:not([type=checkbox], [type=radio])") ? 300 : 0);
    });
    form.addEventListener("submit", (event) => { event.preventDefault(); update(); });
  }
}
