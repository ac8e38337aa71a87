"use strict";
(() => {
  const root = document.documentElement;
  const kept = {
    get() { try { return localStorage.getItem("workbench-theme"); } catch { return null; } },
    set(theme) { try { localStorage.setItem("workbench-theme", theme); } catch { /* a sandboxed frame keeps nothing */ } },
  };
  if (kept.get()) root.dataset.theme = kept.get();
  document.getElementById("theme").addEventListener("click", () => {
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    kept.set(root.dataset.theme);
  });

  // a number in front of a cell sorts as one; a cell's data-value goes before its text
  const key = (cell) => {
    const text = cell.dataset.value ?? cell.textContent.trim();
    const number = parseFloat(text.replaceAll(",", ""));
    return Number.isNaN(number) ? text.toLowerCase() : number;
  };
  // what was not measured (a dash) stands last, whichever way the rest is sorted
  const compare = (a, b, way) => (a === "–") - (b === "–")
    || way * (typeof a === typeof b ? (a < b ? -1 : a > b ? 1 : 0) : typeof a === "number" ? -1 : 1);
  for (const table of document.querySelectorAll("table.sortable")) {
    [...table.tHead.rows[0].cells].forEach((head, column) => {
      if (head.classList.contains("plain")) return;
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const up = head.getAttribute("aria-sort") !== "ascending";
        for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", up ? "ascending" : "descending");
        const rows = [...table.tBodies[0].rows];
        rows.sort((a, b) => compare(key(a.cells[column]), key(b.cells[column]), up ? 1 : -1));
        table.tBodies[0].append(...rows);
      });
    });
  }

  const which = document.getElementById("which"), mention = document.getElementById("mention");
  const filter = () => {
    const rows = [...document.querySelectorAll("#claims tbody tr")];
    for (const row of rows) {
      const verdict = !which.value || row.dataset.verdict.endsWith(which.value);
      row.hidden = !(verdict && row.textContent.toLowerCase().includes(mention.value.toLowerCase()));
    }
    const shown = rows.filter((row) => !row.hidden).length;
    document.getElementById("shown").textContent = shown < rows.length ? `${shown} of ${rows.length} claims` : "";
  };
  if (which) { which.addEventListener("change", filter); mention.addEventListener("input", filter); }

  const save = (name, type, text) => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type }));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  };
  const cells = (table) => [...table.rows].filter((row) => !row.hidden).map((row) => [...row.cells]
    .filter((cell) => !("skip" in cell.dataset) && !cell.classList.contains("plain"))
    .map((cell) => cell.textContent.trim().replace(/\s+/g, " ")));
  const csv = (rows) => rows.map((row) => row.map((cell) => /[",\n]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell).join(",")).join("\n") + "\n";
  const SPECIAL = { "\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}", "±": "$\\pm$", "–": "--" };
  const tex = (text) => text.replace(/[\\~^±–]|[&%$#_{}]/g, (found) => SPECIAL[found] ?? "\\" + found);
  const latex = (rows) => [
    `\\begin{tabular}{${"l".repeat(rows[0].length)}}`, "\\hline",
    ...rows.map((row, n) => row.map(tex).join(" & ") + " \\\\" + (n ? "" : " \\hline")), "\\hline", "\\end{tabular}", ""].join("\n");
  const svg = (figure) => {
    const source = figure.querySelector("svg"), style = getComputedStyle(root);
    return source.outerHTML.replace(/var\((--\w+)\)/g, (_, name) => style.getPropertyValue(name).trim());
  };
  for (const button of document.querySelectorAll("button[data-save]")) {
    button.addEventListener("click", () => {
      const { save: kind, table, figure, name } = button.dataset;
      if (kind === "svg") save(`${name}.svg`, "image/svg+xml", svg(document.getElementById(figure)));
      else {
        const rows = cells(document.getElementById(table));
        if (kind === "csv") save(`${table}.csv`, "text/csv", csv(rows)); else save(`${table}.tex`, "application/x-tex", latex(rows));
      }
    });
  }
})();
