// A box above the table of all configuration keys that leaves only the rows with each of the words in it.
document.addEventListener("DOMContentLoaded", () => {
  const table = document.querySelector("#keys table");
  if (!table) return;
  const rows = [...table.tBodies[0].rows];
  for (const row of rows) {
    // Long keys may break, after an underscore.
    for (const text of row.cells[0].querySelectorAll("code span, code:not(:has(span))")) {
      text.innerHTML = text.innerHTML.replaceAll("_", "_<wbr>");
    }
  }
  const box = document.createElement("input");
  box.type = "search";
  box.className = "filter";
  box.placeholder = `Find one of ${rows.length} keys: timeout, ssl, seconds, …`;
  box.setAttribute("aria-label", "Find a key");
  const count = document.createElement("output");
  count.className = "filter-count";
  box.addEventListener("input", () => {
    const words = box.value.toLowerCase().split(/\s+/);
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
    }
    const left = rows.filter((row) => !row.hidden).length;
    count.textContent = box.value.trim() ? `${left} of ${rows.length}` : "";
  });
  const around = table.closest(".table-wrapper") ?? table;
  around.before(box, count);
});
