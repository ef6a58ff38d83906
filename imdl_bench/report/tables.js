"use strict";

const collator = new Intl.Collator("en", { numeric: true });

/* Undefined values come last whichever way a column is sorted. */
function compareKeys(a, b, sign) {
  const missing = (a === null || a === "") - (b === null || b === "");
  if (missing) return missing;
  return sign * (typeof a === "number" && typeof b === "number" ? a - b : collator.compare(a ?? "", b ?? ""));
}

/* A section that holds a table, its filters and its pager. `show` gives it rows: {key(column), text, element()}. */
function pagedTable(section, pageSize, noun) {
  const table = section.querySelector("table");
  const pager = section.querySelector(".pager");
  const status = section.querySelector("[data-status]");
  const text = section.querySelector("[data-filter]");
  const selects = [...section.querySelectorAll("[data-select]")];
  let rows = [], found = [], page = 0, size = pageSize;

  const heads = () => [...table.tHead.rows[0].cells];
  const column = (name) => heads().findIndex((head) => head.dataset.column === name);

  function draw() {
    const pages = Math.max(1, Math.ceil(found.length / size));
    page = Math.min(page, pages - 1);
    const first = page * size;
    const shown = found.slice(first, first + size);
    table.tBodies[0].replaceChildren(...shown.map((row) => row.element()));
    pager.hidden = pages === 1;
    pager.querySelector("[data-page]").textContent = `page ${page + 1} of ${pages}`;
    for (const button of pager.querySelectorAll("[data-go]"))
      button.disabled = page + Number(button.dataset.go) < 0 || page + Number(button.dataset.go) >= pages;
    const part = pages > 1 ? `, ${first + 1} to ${first + shown.length} shown` : "";
    status.textContent = `${found.length} of ${rows.length} ${noun}${part}`;
  }

  function filter() {
    const words = text.value.toLowerCase().split(/\s+/).filter(Boolean);
    const wanted = selects.filter((each) => each.value).map((each) => [column(each.dataset.select), each.value]);
    found = rows.filter(
      (row) => words.every((word) => row.text.includes(word)) && wanted.every(([at, value]) => row.key(at) === value)
    );
    page = 0;
    sort();
  }

  function sort() {
    const at = heads().findIndex((head) => head.ariaSort === "ascending" || head.ariaSort === "descending");
    if (at >= 0) {
      const sign = heads()[at].ariaSort === "ascending" ? 1 : -1;
      const keyed = found.map((row) => [row.key(at), row]);
      found = keyed.sort((a, b) => compareKeys(a[0], b[0], sign)).map((pair) => pair[1]);
    }
    section.classList.toggle("sorted", at >= 0);
    draw();
  }

  table.tHead.addEventListener("click", (event) => {
    const head = event.target.closest("button")?.closest("th");
    if (!head) return;
    const down = head.ariaSort ? head.ariaSort === "ascending" : "numeric" in head.dataset;
    for (const other of heads()) other.ariaSort = null;
    head.ariaSort = down ? "descending" : "ascending";
    sort();
  });
  text.addEventListener("input", filter);
  for (const select of selects) select.addEventListener("change", filter);
  pager.addEventListener("click", (event) => {
    const step = event.target.closest("[data-go]");
    if (!step) return;
    page += Number(step.dataset.go);
    draw();
  });

  return {
    show(given) { rows = given; filter(); },
    onePage(all) { size = all ? Number.MAX_SAFE_INTEGER : pageSize; draw(); },
  };
}

/* The leaderboard's rows stand in the page, for readers without scripts. */
function rowsInPage(table) {
  const numeric = [...table.tHead.rows[0].cells].map((head) => "numeric" in head.dataset);
  return [...table.tBodies[0].rows].map((element) => {
    const cells = [...element.cells].map((cell) => cell.textContent);
    const keys = cells.map((cell, at) => {
      const number = parseFloat(cell);
      return numeric[at] ? (Number.isNaN(number) ? null : number) : cell;
    });
    return { key: (at) => keys[at], text: cells.join(" ").toLowerCase(), element: () => element };
  });
}

/* Rows of plain values, made into elements when a page shows them. */
function rowsOfData(data) {
  return data.rows.map((values) => ({
    key: (at) => values[at],
    text: values.join(" ").toLowerCase(),
    element() {
      const row = document.createElement("tr");
      values.forEach((value, at) => {
        const cell = row.appendChild(document.createElement(at ? "td" : "th"));
        if (!at) cell.scope = "row";
        const numeric = data.columns[at][1];
        if (numeric) cell.className = "n";
        const isolated = cell.appendChild(document.createElement("bdi"));
        isolated.textContent = value === null ? "–" : data.columns[at][0] !== "bytes" && numeric ? value.toFixed(4) : value;
      });
      return row;
    },
  }));
}

function headOfData(table, data) {
  const row = document.createElement("tr");
  for (const [name, numeric] of data.columns) {
    const head = row.appendChild(document.createElement("th"));
    head.scope = "col";
    head.dataset.column = name;
    if (numeric) { head.className = "n"; head.dataset.numeric = ""; }
    const button = head.appendChild(document.createElement("button"));
    button.type = "button";
    button.textContent = name;
  }
  table.tHead.replaceChildren(row);
}
