// Tables of versions: selecting, comparing, opening by the Enter key, copying as CSV.
"use strict";
{
  const boxes = () => [...document.querySelectorAll("input[name=select]:checked")];
  const line = document.querySelector("[data-count]");
  const usual = line?.innerHTML;

  function count() {
    if (!line) return;
    const many = boxes().length;
    if (many) line.textContent = `${many} selected`;
    else line.innerHTML = usual; // text of this page itself, from the server
    const compare = document.querySelector("[data-compare]");
    if (compare) compare.disabled = many > 0 && (many < 2 || many > 5);
    document.querySelectorAll("[data-one]").forEach((button) => { button.disabled = many > 1; });
  }

  // Rows of the page as CSV, for a page without a server.
  function sheetOf(table) {
    const quoted = (text) => (/[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
    const cells = (row) => [...row.cells].map((cell) => {
      const text = cell.innerText.trim();
      return quoted(/^[=+\-@]/.test(text) && Number.isNaN(Number(text)) ? `'${text}` : text);
    });
    return [...table.rows].map((row) => cells(row).join(",")).join("\r\n");
  }

  async function copy(button) {
    const from = button.dataset.csv;
    let text;
    if (from) {
      const answer = await fetch(from + location.search);
      text = await answer.text();
    } else text = sheetOf(document.querySelector("table.rows"));
    await navigator.clipboard.writeText(text);
    const before = button.textContent;
    button.textContent = "✓ copied";
    setTimeout(() => { button.textContent = before; }, 1500);
  }

  document.querySelectorAll("[data-csv]").forEach((button) => { button.hidden = false; });
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-csv]");
    if (button) copy(button);
  });
  document.addEventListener("change", (event) => {
    if (event.target.matches("input[name=select]")) count();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && event.target.matches("input[name=select]")) {
      event.preventDefault(); // not the first button of the form
      event.target.closest("tr").querySelector("th a")?.click();
    }
  });
  document.addEventListener("kept-view", count);
  document.addEventListener("kept-update", count);
  window.addEventListener("pageshow", count); // the back button brings a selection back
  count();
}
