"use strict";
for (const table of document.querySelectorAll("table")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
    const falls = head.getAttribute("aria-sort") === "ascending";
    heads.forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", falls ? "descending" : "ascending");
    const body = table.tBodies[0];
    const rows = [...body.rows].map((row) => [row.cells[column].dataset.key, row]);
    const numbers = rows.every(([key]) => key === "" || !Number.isNaN(Number(key)));
    const order = (one, other) => {
      if (one === "" || other === "") return (one === "") - (other === "");
      const sign = falls ? -1 : 1;
      return sign * (numbers ? Number(one) - Number(other) : one.localeCompare(other));
    };
    rows.sort(([one], [other]) => order(one, other));
    body.append(...rows.map(([, row]) => row));
  }));
}
