"use strict";
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0], asMade = [...body.rows], heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    head.setAttribute("aria-sort", "none");
    button.addEventListener("click", () => {
      const number = !head.classList.contains("word");
      const orders = number ? ["descending", "ascending", "none"] : ["ascending", "descending", "none"];
      const order = orders[(orders.indexOf(head.getAttribute("aria-sort")) + 1) % 3];
      heads.forEach((each) => each.setAttribute("aria-sort", each === head ? order : "none"));
      body.append(...sorted(asMade, column, order, number));
    });
  });
}
function sorted(rows, column, order, number) {
  if (order === "none") return rows;
  const value = (row) => {
    const cell = row.cells[column], key = cell.dataset.key;
    return number ? (key === undefined ? null : Number(key)) : cell.textContent.trim() || null;
  };
  const sign = order === "ascending" ? 1 : -1;
  return [...rows].sort((one, other) => {
    const a = value(one), b = value(other);
    if (a === null || b === null) return (a === null) - (b === null);
    return sign * (number ? a - b : a.localeCompare(b, "en", { numeric: true }));
  });
}
const closed = () => [...document.querySelectorAll("details:not([open])")];
let opened = [];
addEventListener("beforeprint", () => { opened = closed(); opened.forEach((each) => { each.open = true; }); });
addEventListener("afterprint", () => opened.forEach((each) => { each.open = false; }));
