// Parts of a page that take longer: they are asked for when they come into view. Without this
// script, their links show the same page with them.
"use strict";

async function fill(place, address) {
  place.setAttribute("aria-busy", "true");
  try {
    const answer = await fetch(address);
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const found = page.getElementById(place.id);
    if (found) place.replaceChildren(...found.childNodes);
    else fail(place, page.querySelector(".message")?.textContent ?? answer.statusText);
  } catch (error) {
    fail(place, `The server of this page does not answer: ${error.message}`);
  }
  place.removeAttribute("aria-busy");
  document.dispatchEvent(new CustomEvent("kept-update")); // charts among it are drawn
}

// Says what failed, beside the link, which still works.
function fail(place, text) {
  place.querySelector(".later")?.classList.remove("later");
  const shown = document.createElement("p");
  shown.className = "note bad";
  shown.setAttribute("role", "alert");
  shown.textContent = text;
  place.append(shown);
}

const seen = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) {
    if (!isIntersecting) continue;
    seen.unobserve(target);
    const link = target.querySelector(".later a");
    if (link) fill(target, link.href);
  }
}, { rootMargin: "300px" });

// A live page can be replaced as a whole: then its parts are asked for again.
function watch() {
  for (const place of document.querySelectorAll("[data-more]:has(.later)")) seen.observe(place);
}
watch();
document.addEventListener("kept-update", watch);

// A tensor of the tree opens in a row below it.
document.addEventListener("click", (event) => {
  const link = event.target.closest("a[data-tensor]");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  const row = link.closest("tr");
  const is_open = link.getAttribute("aria-expanded") === "true";
  link.setAttribute("aria-expanded", String(!is_open));
  if (is_open) {
    row.nextElementSibling.remove();
    return;
  }
  const cell = document.createElement("td");
  cell.colSpan = row.cells.length;
  const place = document.createElement("div");
  place.id = "tensor";
  cell.append(place);
  const opened = document.createElement("tr");
  opened.className = "opened";
  opened.append(cell);
  row.after(opened);
  fill(place, link.href).then(() => place.removeAttribute("id"));
});
