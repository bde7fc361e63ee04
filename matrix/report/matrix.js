// Filters and search on the home page, and a word about links to a run that is no longer shown. Nothing needs it.
"use strict";
(() => {
  const here = document.currentScript.src;
  const form = document.getElementById("filter");
  if (form) filters(form);
  if (document.getElementById("missing")) toCell();
  linkToRun();
  window.addEventListener("hashchange", linkToRun);

  // A page of evidence that its cell shares with another one by now, or had in an older run.
  function toCell() {
    const [, root, cell, scenario] = /^(.*\/cells\/)([^/]+)\/([^/]+)\.html$/.exec(location.pathname) || [];
    if (scenario && scenario !== "index") location.replace(`${root}${cell}/index.html${location.hash || `#${scenario}`}`);
  }

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
    const release = document.documentElement.dataset.tortoise || "";
    const cards = document.getElementById("cards");
    // Of search.js, once it is there: the words of each row, and the texts of errors.
    let index = null;
    const tables = [...document.querySelectorAll("table.matrix")].map(readTable);

    form.hidden = false;
    search.addEventListener("focus", load, { once: true });
    search.value = new URLSearchParams(location.search).get("q") || "";
    if (search.value) load();
    if (!apply()) return;
    search.addEventListener("input", changed);
    form.addEventListener("submit", (event) => { event.preventDefault(); changed(); });
    form.addEventListener("reset", (event) => { event.preventDefault(); search.value = ""; changed(); search.focus(); });
    for (const select of selects) select.addEventListener("change", () => { choose(select); changed(); });

    // A script and no data: what is opened from a folder may not read any.
    function load() {
      if (document.getElementById("index")) return;
      const script = document.createElement("script");
      script.id = "index";
      script.src = new URL("search.js", here).href;
      script.addEventListener("load", () => {
        index = { rows: new Map(Object.entries(window.matrixIndex.rows).map(([id, text]) => [id, text.split(" ")])), errors: window.matrixIndex.errors };
        apply();
      });
      document.head.append(script);
    }

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
        const values = key === "tortoise" && release ? [release] : query[key];
        select.value = [...select.options].find((option) => values.length === 1 && option.value.toLowerCase() === values[0].toLowerCase())?.value ?? "";
      }
      const found = matching(query.text);
      let shown = 0;
      for (const table of tables) shown += applyTo(table, query, found);
      const all = tables.reduce((sum, table) => sum + table.rows.length, 0);
      const near = found.near && shown ? " No row has all of these words: these are the nearest." : "";
      const none = shown ? "" : index || !query.text.length ? " Nothing fits: try the words of the error message, without names and numbers of your own." : "";
      showCards(query.text);
      const unknown = query.unknown.length ? ` Not understood: ${query.unknown.join(" ")}.` : "";
      output.textContent = (search.value.trim() ? `${shown} of ${all} rows.${near}${none}` : "") + unknown;
      return true;
    }

    // Each release of Tortoise has a page of its own; go there when one is asked for.
    function rightRelease(query) {
      const [wanted] = query.tortoise;
      if (!wanted || wanted === release) return true;
      const rest = words(search.value).filter((word) => !word.toLowerCase().startsWith("tortoise:")).join(" ");
      return !go(wanted, rest, query);
    }

    function go(wanted, text, query) {
      const select = selects.find((each) => each.dataset.key === "tortoise");
      const option = [...select.options].find((each) => each.value === wanted);
      if (!option) query.unknown.push(`tortoise:${wanted}`);
      if (!option || !option.dataset.href || wanted === release) return false;
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
        else if (key && values && !/^[a-z]{2,8}-/i.test(word)) query.unknown.push(word);
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
        id: row.id,
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

    // The same in search.py.
    function tokens(text) {
      return text.toLowerCase().match(/[a-z0-9_]{2,}/g) || [];
    }

    // Which rows have all of the words: in their title, or among what they stand for. Where none has, those that have
    // most of them, words that few rows have counting more.
    function matching(text) {
      const rows = tables.flatMap((table) => table.rows);
      const names = (word) => /^[a-z]{2,8}-\d/.test(word);
      const weights = new Map();
      const has = (row, word) => row.text.includes(word) || (!names(word) && index?.rows.get(row.id)?.some((each) => each === word || (word.length > 3 && each.startsWith(word))));
      const wanted = [...new Set(text.flatMap((word) => (names(word) ? [word] : tokens(word))))];
      for (const word of wanted) {
        const often = rows.filter((row) => has(row, word)).length;
        if (often) weights.set(word, Math.log(1 + rows.length / often));
      }
      if (!wanted.length) return { rows: new Set(rows), near: false };
      const whole = rows.filter((row) => wanted.every((word) => has(row, word)));
      if (whole.length || !index) return { rows: new Set(whole), near: false };
      const score = (row) => wanted.reduce((sum, word) => sum + (weights.has(word) && has(row, word) ? weights.get(word) : 0), 0);
      const best = Math.max(0, ...rows.map(score));
      const all = wanted.reduce((sum, word) => sum + (weights.get(word) ?? Math.log(1 + rows.length)), 0);
      const near = best < all / 4 ? [] : rows.filter((row) => score(row) > 0.8 * best);
      return { rows: new Set(near), near: near.length > 0 };
    }

    // The error messages that the text is, or is a part of: what they mean, and where to read on.
    function showCards(text) {
      const wanted = new Set(tokens(text.join(" ")));
      const scored = !index || wanted.size < 2 ? [] : index.errors.map((error) => {
        const own = new Set(tokens(error.text));
        const common = [...own].filter((word) => wanted.has(word)).length;
        return { error, part: common / own.size, asked: common / wanted.size, common };
      }).filter(({ part, asked, common }) => common > 1 && (part > 0.7 || asked > 0.99));
      scored.sort((a, b) => b.common - a.common || b.part - a.part);
      cards.replaceChildren(...scored.slice(0, 3).map(({ error }) => card(error)));
    }

    function card(error) {
      const root = form.dataset.root;
      const link = (href, text) => Object.assign(document.createElement("a"), { href: root + href, textContent: text });
      const box = document.createElement("article");
      const title = document.createElement("h3");
      title.append(link(`errors.html#${error.key}`, error.text));
      const where = document.createElement("p");
      where.append(`${error.drivers.join(", ")}: `);
      error.scenarios.forEach(([id, name], at) => where.append(at ? "; " : "", link(`scenarios/${id}.html`, id), ` ${name}`));
      if (error.more) where.append(`; and ${error.more} more`);
      const says = document.createElement("p");
      says.textContent = error.says;
      box.append(title, says, where);
      if (error.instead) {
        const instead = document.createElement("p");
        instead.append("Instead: ", link(`patterns.html#${error.instead[0]}`, error.instead[1]), error.instead[2]);
        box.append(instead);
      }
      return box;
    }

    function applyTo(table, query, found) {
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
        const right = meets(query.family, [row.family]) && found.rows.has(row);
        row.element.hidden = !(right && (any || !picky) && columns.includes(true));
        shown += !row.element.hidden;
      }
      table.section.hidden = !shown && query.text.length > 0;
      for (const body of table.table.tBodies) {
        body.hidden = ![...body.rows].some((row) => row.dataset.f && !row.hidden);
      }
      return shown;
    }
  }
})();
