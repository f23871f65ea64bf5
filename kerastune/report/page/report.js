"use strict";
(() => {
  const STEP = 50;
  const table = document.getElementById("errors-table");
  if (!table) return;
  document.documentElement.classList.add("js");
  const body = table.tBodies[0];
  const rows = Array.from(body.rows);
  const search = document.getElementById("errors-search");
  const selects = Array.from(document.querySelectorAll("[data-filter]"));
  const said = document.getElementById("errors-said");
  const more = document.getElementById("errors-more");
  const fold = (text) => text.normalize("NFC").toLocaleLowerCase();
  const texts = new Map(rows.map((row) => [row, fold(row.textContent)]));
  const collator = new Intl.Collator(undefined, { numeric: true });
  let limit = STEP;

  function show() {
    const words = fold(search.value).split(/\s+/).filter(Boolean);
    let found = 0;
    for (const row of body.rows) {
      const fits =
        words.every((word) => texts.get(row).includes(word)) &&
        selects.every((select) => !select.value || row.dataset[select.dataset.filter] === select.value);
      if (fits) found += 1;
      row.hidden = !fits || found > limit;
    }
    const shown = Math.min(found, limit);
    said.value = shown < found ? `${shown} of ${found} shown` : `${found} of ${rows.length} rows`;
    more.hidden = shown === found;
  }

  function sort(header) {
    const falling = header.getAttribute("aria-sort") === "ascending" ||
      (header.getAttribute("aria-sort") === "none" && header.dataset.first === "descending");
    for (const other of header.parentNode.cells) {
      if (other.hasAttribute("aria-sort")) other.setAttribute("aria-sort", "none");
    }
    header.setAttribute("aria-sort", falling ? "descending" : "ascending");
    const value = (row) => row.cells[header.cellIndex].dataset.value ?? "";
    const compare = header.dataset.type === "number"
      ? (a, b) => Number(value(a)) - Number(value(b))
      : (a, b) => collator.compare(value(a), value(b));
    rows.sort((a, b) => (falling ? compare(b, a) : compare(a, b)));
    body.append(...rows);
    show();
  }

  for (const button of table.tHead.querySelectorAll("button")) {
    button.addEventListener("click", () => sort(button.closest("th")));
  }
  const narrow = () => { limit = STEP; show(); };
  search.addEventListener("input", narrow);
  for (const select of selects) select.addEventListener("change", narrow);
  more.addEventListener("click", () => { limit += STEP; show(); });
  show();
})();
