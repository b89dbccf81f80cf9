"use strict";
// Filters and sorts the rows of tables that ask for it. The page is whole without it, and prints every row.
for (const table of document.querySelectorAll("table[data-tools]")) {
  const body = table.tBodies[0];
  const rows = Array.from(body.rows);
  const box = table.closest(".scroll");
  const bar = document.createElement("p");
  bar.className = "tools";
  const label = document.createElement("label");
  label.textContent = "Filter these rows ";
  const input = document.createElement("input");
  input.type = "search";
  input.autocomplete = "off";
  label.append(input);
  const told = document.createElement("span");
  told.setAttribute("role", "status");
  bar.append(label, told);
  box.before(bar);

  const texts = rows.map((row) => row.textContent.toLowerCase());
  input.addEventListener("input", () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    rows.forEach((row, place) => {
      row.hidden = !words.every((word) => texts[place].includes(word));
      shown += row.hidden ? 0 : 1;
    });
    told.textContent = words.length ? shown + " of " + rows.length + " rows" : "";
  });

  const heads = Array.from(table.tHead.rows[0].cells);
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "sort";
    // The head's own text stays outside: a browser that prints repeats it, but no button.
    button.setAttribute("aria-label", "Sort by " + head.textContent.trim());
    head.append(" ", button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const keyed = rows.map((row, place) => [row.cells[column].textContent.trim(), place, row]);
      const numbers = keyed.every(([text]) => /^[\d,]+$/.test(text));
      keyed.sort(([one, first], [other, second]) => {
        const by = numbers
          ? Number(one.replaceAll(",", "")) - Number(other.replaceAll(",", ""))
          : one.localeCompare(other, "en");
        return (down ? -by : by) || first - second;
      });
      body.append(...keyed.map(([, , row]) => row));
    });
  });
}
