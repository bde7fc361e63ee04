// Filters and search on the home page, and a word about links to a run that is no longer shown. Nothing needs it.
"use strict";
(() => {
  const form = document.getElementById("filter");
  if (form) filters(form);
  linkToRun();
  window.addEventListener("hashchange", linkToRun);

  function linkToRun() {
    const id = decodeURIComponent(location.hash.slice(1));
    const box = document.querySelector(".verdict");
    if (!box || !id.startsWith("run-") || document.getElementById(id)) return;
    const note = document.createElement("p");
    note.className = "unmet";
    note.setAttribute("role", "status");
    note.textContent = `The link was to ${id}. This page shows a newer run, ${box.id}.`;
    box.prepend(note);
  }

  function filters(form) {
    const KEYS = ["driver", "server", "family", "verdict", "tortoise", "changed"];
    const search = form.elements.q;
    const selects = [...form.querySelectorAll("select")];
    const output = form.querySelector("output");
    const here = document.documentElement.dataset.tortoise || "";
    const tables = [...document.querySelectorAll("table.matrix")].map(readTable);

    form.hidden = false;
    search.value = new URLSearchParams(location.search).get("q") || "";
    if (!apply()) return;
    search.addEventListener("input", changed);
    form.addEventListener("submit", (event) => { event.preventDefault(); changed(); });
    form.addEventListener("reset", (event) => { event.preventDefault(); search.value = ""; changed(); search.focus(); });
    for (const select of selects) select.addEventListener("change", () => { choose(select); changed(); });

    // The text of the search field is the whole state; the lists only write into it.
    function choose(select) {
      const key = select.dataset.key;
      const rest = words(search.value).filter((word) => !word.toLowerCase().startsWith(`${key}:`));
      if (select.value) rest.push(`${key}:${quoted(select.value)}`);
      search.value = rest.join(" ");
      if (key === "tortoise" && !select.value) go("", search.value);
    }

    function changed() {
      const text = search.value.trim();
      if (apply()) history.replaceState(null, "", (text ? `?${new URLSearchParams({ q: text })}` : location.pathname) + location.hash);
    }

    function apply() {
      const query = parse(search.value);
      if (!rightRelease(query)) return false;
      for (const select of selects) {
        const key = select.dataset.key;
        const values = key === "tortoise" && here ? [here] : query[key];
        select.value = [...select.options].find((option) => values.length === 1 && option.value.toLowerCase() === values[0].toLowerCase())?.value ?? "";
      }
      let shown = 0;
      for (const table of tables) shown += applyTo(table, query);
      const all = tables.reduce((sum, table) => sum + table.rows.length, 0);
      const unknown = query.unknown.length ? ` Not understood: ${query.unknown.join(" ")}.` : "";
      output.textContent = (search.value.trim() ? `${shown} of ${all} rows.` : "") + unknown;
      return true;
    }

    // Each release of Tortoise has a page of its own; go there when one is asked for.
    function rightRelease(query) {
      const [wanted] = query.tortoise;
      if (!wanted || wanted === here) return true;
      const rest = words(search.value).filter((word) => !word.toLowerCase().startsWith("tortoise:")).join(" ");
      return !go(wanted, rest, query);
    }

    function go(release, text, query) {
      const select = selects.find((each) => each.dataset.key === "tortoise");
      const option = [...select.options].find((each) => each.value === release);
      if (!option) query.unknown.push(`tortoise:${release}`);
      if (!option || !option.dataset.href || release === here) return false;
      location.href = option.dataset.href + (text ? `?${new URLSearchParams({ q: text })}` : "");
      return true;
    }

    function parse(text) {
      const query = Object.fromEntries(KEYS.map((key) => [key, []]));
      query.text = [];
      query.unknown = [];
      for (const word of words(text)) {
        const [, key, values] = /^([a-z]+):(.*)$/i.exec(word) || [];
        if (key && KEYS.includes(key.toLowerCase())) query[key.toLowerCase()].push(...values.replaceAll('"', "").toLowerCase().split(",").filter(Boolean));
        else if (key && !/^[a-z]{2,8}-/i.test(word)) query.unknown.push(word);
        else query.text.push(word.replaceAll('"', "").toLowerCase());
      }
      return query;
    }

    function words(text) {
      return text.match(/(?:[^\s"]+|"[^"]*"?)+/g) || [];
    }

    function quoted(value) {
      return /[\s,]/.test(value) ? `"${value}"` : value;
    }

    function readTable(table) {
      const heads = [...table.tHead.rows[0].cells].slice(1).map((head) => ({
        element: head,
        driver: [head.dataset.d],
        server: (head.dataset.s || "").split(" "),
      }));
      const rows = [...table.querySelectorAll("tbody tr[data-f]")].map((row) => ({
        element: row,
        family: row.dataset.f,
        text: row.cells[0].textContent.toLowerCase(),
        places: [...row.cells].slice(1).map((cell) => ({
          element: cell,
          verdict: [...cell.querySelectorAll(".w")].map((word) => word.textContent),
          changed: (cell.dataset.c || "").split(" "),
        })),
      }));
      return { table, heads, rows, section: table.closest("section") };
    }

    function applyTo(table, query) {
      const meets = (wanted, has) => !wanted.length || wanted.some((value) => has.includes(value));
      const columns = table.heads.map((head) => meets(query.driver, head.driver) && meets(query.server, head.server));
      table.heads.forEach((head, at) => { head.element.hidden = !columns[at]; });
      const picky = query.verdict.length || query.changed.length;
      let shown = 0;
      for (const row of table.rows) {
        let any = false;
        row.places.forEach((place, at) => {
          const match = meets(query.verdict, place.verdict) && meets(query.changed, place.changed);
          place.element.hidden = !columns[at];
          place.element.classList.toggle("off", !match);
          any ||= match && columns[at];
        });
        const right = meets(query.family, [row.family]) && query.text.every((word) => row.text.includes(word));
        row.element.hidden = !(right && (any || !picky) && columns.includes(true));
        shown += !row.element.hidden;
      }
      for (const body of table.table.tBodies) {
        body.hidden = ![...body.rows].some((row) => row.dataset.f && !row.hidden);
      }
      return shown;
    }
  }
})();
