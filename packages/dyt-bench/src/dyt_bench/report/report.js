/* The report's page: charts from their data, tables that sort and filter, variants that hide. */
"use strict";
(() => {
  const NS = "http://www.w3.org/2000/svg";
  const looks = JSON.parse(document.body.dataset.variants);
  const hidden = new Set();
  const charts = [];
  const tip = make("div", { class: "tip", role: "status", hidden: "" }, document.body);

  function make(name, attributes = {}, parent = null, text = null) {
    const node = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    if (text !== null) node.textContent = text;
    if (parent) parent.append(node);
    return node;
  }
  function draw(name, attributes, parent, text = null) {
    const node = document.createElementNS(NS, name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    if (text !== null) node.textContent = text;
    parent.append(node);
    return node;
  }
  function save(name, content, type) {
    const url = URL.createObjectURL(new Blob([content], { type }));
    const link = make("a", { href: url, download: name });
    link.click();
    setTimeout(() => URL.revokeObjectURL(url), 1000);
  }
  const fileName = (text, end) => text.replace(/[^A-Za-z0-9.]+/g, "-").slice(0, 80) + end;
  const cell = (value) => {
    const text = String(value ?? "");
    return /[",\n]/.test(text) ? '"' + text.replaceAll('"', '""') + '"' : text;
  };
  const csv = (rows) => rows.map((row) => row.map(cell).join(",")).join("\n") + "\n";

  /* Numbers and axes. */
  function shown(value) {
    if (value === 0) return "0";
    const size = Math.abs(value);
    if (size >= 1e6 || size < 1e-3) return value.toExponential(2).replace("e+", "e");
    return Number(value.toPrecision(4)).toLocaleString("en", { maximumFractionDigits: 6 });
  }
  function linearTicks(low, high, count) {
    const rough = (high - low) / Math.max(1, count);
    const unit = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((n) => n * unit).find((n) => n >= rough);
    const places = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
    const ticks = [];
    for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++) {
      const value = i * step + 0; // no -0
      const text = value.toLocaleString("en", places > 8 ? {} : {
        minimumFractionDigits: value === 0 ? 0 : places, maximumFractionDigits: places });
      ticks.push([value, text]);
    }
    return ticks;
  }
  function logTicks(low, high, count) {
    let ticks = [];
    for (let e = Math.floor(Math.log10(low)); e <= Math.ceil(Math.log10(high)); e++)
      for (const n of [1, 2, 5]) {
        const value = Number((n * 10 ** e).toPrecision(2));
        if (value >= low * 0.999 && value <= high * 1.001) ticks.push([value, shown(value)]);
      }
    if (ticks.length < 2) return linearTicks(low, high, count);
    while (ticks.length > count + 1) ticks = ticks.filter((_, i) => i % 2 === 0);
    return ticks;
  }
  function axis(low, high, from, to, log, count) {
    if (log) [low, high] = low === high ? [low / 2, high * 2] : [low, high];
    else if (low === high) [low, high] = low >= 0 ? [0, 2 * high || 1] : [2 * low, 0];
    const of = log ? Math.log : (value) => value;
    const scale = (value) => from + ((of(value) - of(low)) / (of(high) - of(low))) * (to - from);
    return { scale, low, high, ticks: log ? logTicks(low, high, count) : linearTicks(low, high, count) };
  }

  /* Marks, which tell variants apart without colour. */
  const SHAPES = {
    o: (r) => `M${-r},0a${r},${r} 0 1,0 ${2 * r},0a${r},${r} 0 1,0 ${-2 * r},0`,
    s: (r) => `M${-r},${-r}h${2 * r}v${2 * r}h${-2 * r}z`,
    D: (r) => `M0,${-1.3 * r}l${1.3 * r},${1.3 * r}l${-1.3 * r},${1.3 * r}l${-1.3 * r},${-1.3 * r}z`,
    "^": (r) => `M0,${-1.2 * r}l${1.2 * r},${2.1 * r}h${-2.4 * r}z`,
    v: (r) => `M0,${1.2 * r}l${1.2 * r},${-2.1 * r}h${-2.4 * r}z`,
    P: (r) => `M${-r / 3},${-r}h${r / 1.5}v${r / 1.5}h${r / 1.5}v${r / 1.5}h${-r / 1.5}v${r / 1.5}h${-r / 1.5}v${-r / 1.5}h${-r / 1.5}v${-r / 1.5}h${r / 1.5}z`,
  };
  const look = (variant) => looks[variant] ?? { colour: "var(--ink)", marker: "o" };
  function mark(parent, variant, x, y, r = 3.5) {
    const { colour, marker } = look(variant);
    draw("path", { d: SHAPES[marker](r), transform: `translate(${x},${y})`, fill: colour }, parent);
  }

  /* Charts. */
  function frame(chart, width, height) {
    chart.canvas.replaceChildren();
    return draw("svg", {
      viewBox: `0 0 ${width} ${height}`, width, height, role: "img",
      "aria-label": `${chart.title}: ${chart.data.y ?? chart.data.x}`,
    }, chart.canvas);
  }
  function label(parent, text, x, y, anchor, more = {}) {
    return draw("text", { x, y, "text-anchor": anchor, fill: "var(--faint)", ...more }, parent, text);
  }
  function empty(svg, width, height) {
    label(svg, "every variant is hidden", width / 2, height / 2, "middle");
  }

  function lines(chart) {
    const { data } = chart;
    const width = Math.max(260, chart.canvas.clientWidth);
    const height = 250;
    const svg = frame(chart, width, height);
    const series = data.series.filter((each) => !hidden.has(each.variant));
    if (!series.length) return empty(svg, width, height);
    const box = { left: 54, right: width - 12, top: 24, bottom: height - 40 };
    const allX = series.flatMap((each) => each.x);
    let [lowX, highX] = [Math.min(...allX), Math.max(...allX)];
    const logX = chart.logX && Math.max(...allX) > 0;
    if (logX) lowX = Math.min(...allX.filter((x) => x > 0));
    const from = data.ends && !chart.whole ? lowX + (highX - lowX) / 2 : -Infinity;
    const values = [];
    for (const each of series) {
      each.x.forEach((x, i) => {
        if (x >= from) values.push(each.y[i], each.low?.[i] ?? each.y[i], each.high?.[i] ?? each.y[i]);
      });
      for (const [, y] of each.dots ?? []) values.push(y);
    }
    if (chart.whole || !data.ends) for (const each of data.marks ?? []) values.push(each.y);
    const logY = chart.logY && values.some((y) => y > 0);
    const fit = values.filter((y) => y !== null && (!logY || y > 0));
    let [lowY, highY] = [Math.min(...fit), Math.max(...fit)];
    const pad = (highY - lowY) * 0.06;
    if (!logY) [lowY, highY] = [lowY - pad, highY + pad];
    const across = axis(lowX, highX, box.left + 6, box.right - 6, logX, Math.max(2, Math.floor(width / 90)));
    const up = axis(lowY, highY, box.bottom, box.top, logY, 5);
    let ticksX = across.ticks;
    if (data.names) ticksX = ticksX.filter(([x]) => Number.isInteger(x));
    for (const [y, text] of up.ticks) {
      draw("path", { d: `M${box.left},${up.scale(y)}H${box.right}`, stroke: "var(--band)" }, svg);
      label(svg, text, box.left - 6, up.scale(y) + 4, "end");
    }
    for (const [x, text] of ticksX) label(svg, text, across.scale(x), box.bottom + 16, "middle");
    label(svg, data.y, 4, 13, "start", { fill: "var(--ink)" });
    label(svg, data.x, box.right, height - 6, "end", { fill: "var(--ink)" });
    const clip = `clip-${chart.number}`;
    draw("rect", { x: box.left, y: box.top - 2, width: box.right - box.left, height: box.bottom - box.top + 4 },
      draw("clipPath", { id: clip }, svg));
    const inside = draw("g", { "clip-path": `url(#${clip})` }, svg);
    const named = []; // written last, over the lines
    for (const { y, text } of data.marks ?? []) {
      if (y < up.low || y > up.high || (logY && y <= 0)) continue;
      draw("path", { d: `M${box.left},${up.scale(y)}H${box.right}`, stroke: "var(--faint)", "stroke-dasharray": "2 4" }, inside);
      named.push([text, up.scale(y) - 4]);
    }
    const can = (x, y) => y !== null && (!logX || x > 0) && (!logY || y > 0);
    const place = (x, y) => `${across.scale(x).toFixed(1)},${up.scale(y).toFixed(1)}`;
    for (const each of series) {
      const { colour } = look(each.variant);
      const at = each.x.map((_, i) => i).filter((i) => can(each.x[i], each.y[i]));
      if (each.low && data.names) {
        for (const i of at) draw("path", { d: `M${place(each.x[i], each.low[i])}L${place(each.x[i], each.high[i])}`, stroke: colour, "stroke-width": 2, opacity: 0.5 }, inside);
      } else if (each.low) {
        const whole = at.filter((i) => can(each.x[i], each.low[i]) && can(each.x[i], each.high[i]));
        const edge = [...whole.map((i) => place(each.x[i], each.low[i])), ...whole.reverse().map((i) => place(each.x[i], each.high[i]))];
        if (edge.length > 2) draw("path", { d: `M${edge.join("L")}Z`, fill: colour, opacity: 0.16 }, inside);
      }
      draw("path", { d: `M${at.map((i) => place(each.x[i], each.y[i])).join("L")}`, fill: "none", stroke: colour, "stroke-width": 1.6 }, inside);
      if (at.length <= 30) for (const i of at) mark(inside, each.variant, across.scale(each.x[i]), up.scale(each.y[i]), 3);
      for (const [x, y] of each.dots ?? []) if (can(x, y)) draw("circle", { cx: across.scale(x), cy: up.scale(y), r: 2.2, fill: colour, opacity: 0.6 }, inside);
      if (each.ring !== undefined) draw("circle", { cx: across.scale(each.x[each.ring]), cy: up.scale(each.y[each.ring]), r: 8, fill: "none", stroke: colour, "stroke-width": 1.3 }, inside);
    }
    for (const [text, y] of named.filter(([, y], i) => named.every(([, other], j) => j >= i || Math.abs(other - y) > 12)))
      label(inside, text, box.left + 4, y, "start", { class: "over" });
    const rule = draw("path", { d: "", stroke: "var(--faint)" }, svg);
    chart.hover = (event) => {
      const bounds = svg.getBoundingClientRect();
      const x = ((event.clientX - bounds.left) / bounds.width) * width;
      const every = [...new Set(allX)].filter((value) => !logX || value > 0);
      const near = every.reduce((a, b) => (Math.abs(across.scale(b) - x) < Math.abs(across.scale(a) - x) ? b : a));
      rule.setAttribute("d", `M${across.scale(near)},${box.top}V${box.bottom}`);
      const told = [[null, data.names ? data.names[near - 1] : `${data.x} ${shown(near)}`]];
      for (const each of series) {
        const i = each.x.lastIndexOf(near);
        if (i < 0 || each.y[i] === null) continue;
        const range = each.low && each.low[i] !== each.high[i] ? ` (${shown(each.low[i])} to ${shown(each.high[i])})` : "";
        told.push([each.variant, `${each.variant}: ${shown(each.y[i])}${range}`]);
      }
      return told;
    };
    chart.leave = () => rule.setAttribute("d", "");
  }

  function ranges(chart) {
    const { data } = chart;
    const rows = data.rows.filter((each) => !hidden.has(each.variant));
    const width = Math.max(260, chart.canvas.clientWidth);
    const longest = Math.max(0, ...rows.map((each) => each.label.length));
    // Where names would take more than two fifths of the width they stand above their ranges.
    const above = 14 + 6.9 * longest > width * 0.42;
    const step = above ? 38 : 24;
    const middle = above ? 27 : 12; // of a row's range
    const height = 50 + step * Math.max(1, rows.length);
    const svg = frame(chart, width, height);
    if (!rows.length) return empty(svg, width, height);
    const narrow = width < 460 || above;
    const left = above ? 16 : 14 + 6.9 * longest;
    const right = rows.some((each) => each.note) && !narrow ? 120 : 16;
    const origin = data.origin;
    const ends = rows.flatMap((each) => [each.value, each.low, each.high].filter((v) => v != null));
    let [low, high] = [Math.min(...ends), Math.max(...ends)];
    if (origin === null) [low, high] = [0, high * 1.05 || 1];
    else {
      // Wide intervals of few seeds would hide the effects: the axis ends at twice the widest one.
      const effects = rows.map((each) => Math.abs(each.value - origin));
      const far = 1.9 * Math.max(...effects, ...rows.map((each) => each.band ?? 0)) || 1;
      [low, high] = [Math.max(origin - far, Math.min(low, origin - far / 8)), Math.min(origin + far, Math.max(high, origin + far / 8))];
      const pad = (high - low) * 0.03;
      [low, high] = [low - pad, high + pad];
    }
    const across = axis(low, high, left, width - right, false, Math.max(3, Math.floor((width - left - right) / 80)));
    const bottom = height - 40;
    for (const [x, text] of across.ticks) {
      draw("path", { d: `M${across.scale(x)},4V${bottom}`, stroke: "var(--band)" }, svg);
      label(svg, text, across.scale(x), bottom + 15, "middle");
    }
    rows.forEach((each, i) => {
      const y = 4 + step * i + middle;
      const { colour } = look(each.variant);
      const inside = (value) => Math.min(Math.max(across.scale(value), left - 4), width - right + 4);
      if (each.band && origin !== null)
        draw("rect", { x: inside(origin - each.band), y: 4 + step * i, width: inside(origin + each.band) - inside(origin - each.band), height: step, fill: "var(--band)" }, svg);
      if (origin === null) draw("rect", { x: left, y: y - 7, width: Math.max(0, across.scale(each.value) - left), height: 14, fill: colour, opacity: 0.75 }, svg);
      if (each.low != null) {
        draw("path", { d: `M${inside(each.low)},${y}H${inside(each.high)}`, stroke: origin === null ? "var(--ink)" : colour, "stroke-width": 1.8 }, svg);
        if (each.low < low) draw("path", { d: `M${left - 8},${y}l6,-4v8z`, fill: colour }, svg);
        if (each.high > high) draw("path", { d: `M${width - right + 8},${y}l-6,-4v8z`, fill: colour }, svg);
      }
      if (origin !== null) mark(svg, each.variant, across.scale(each.value), y, 4);
      const [x, base, anchor] = above ? [4, y - 13, "start"] : [left - 12, y + 4, "end"];
      const note = above && each.note ? 6.5 * each.note.length + 12 : 0;
      if (note) label(svg, each.note, width - 6, base, "end", { fill: "var(--ink)", class: "over" });
      const most = Math.floor((above ? width - 12 - note : left - 14) / 6.5);
      const text = each.label.length > most ? "…" + each.label.slice(1 - most) : each.label;
      label(svg, text, x, base, anchor, { fill: "var(--ink)", class: "over" });
      if (right > 16 && each.note) label(svg, each.note, width - right + 12, y + 4, "start", { fill: "var(--ink)" });
    });
    if (origin !== null) draw("path", { d: `M${across.scale(origin)},4V${bottom}`, stroke: "var(--ink)" }, svg);
    const text = label(svg, data.x, width - 6, height - 6, "end", { fill: "var(--ink)" });
    if (data.x.length * 6.4 > width) Object.entries({ textLength: width - 12, lengthAdjust: "spacingAndGlyphs" }).forEach(([k, v]) => text.setAttribute(k, v));
    chart.hover = (event) => {
      const bounds = svg.getBoundingClientRect();
      const i = Math.floor((((event.clientY - bounds.top) / bounds.height) * height - 4) / step);
      const each = rows[Math.min(Math.max(i, 0), rows.length - 1)];
      const range = each.low != null ? ` [${shown(each.low)}, ${shown(each.high)}]` : "";
      return [[null, each.label], [each.variant, `${shown(each.value)}${range}${each.note ? " " + each.note : ""}`]];
    };
    chart.leave = () => {};
  }

  const redraw = (chart) => (chart.data.kind === "lines" ? lines : ranges)(chart);

  function table(chart) {
    const { data } = chart;
    if (data.kind === "ranges")
      return [["label", "variant", data.x, "low", "high", "note"], ...data.rows.map((r) => [r.label, r.variant, r.value, r.low, r.high, r.note])];
    const rows = [["variant", data.x, data.y, "low", "high"]];
    for (const each of data.series) each.x.forEach((x, i) => rows.push([each.variant, data.names ? data.names[x - 1] : x, each.y[i], each.low?.[i], each.high?.[i]]));
    return rows;
  }

  function picture(chart) {
    const svg = chart.canvas.querySelector("svg");
    const style = getComputedStyle(document.documentElement);
    const copy = svg.cloneNode(true);
    copy.setAttribute("xmlns", NS);
    copy.setAttribute("font-family", "sans-serif");
    copy.setAttribute("font-size", "12");
    const text = new XMLSerializer().serializeToString(copy).replace(/var\((--[\w-]+)\)/g, (_, name) => style.getPropertyValue(name).trim());
    const image = new Image();
    image.onload = () => {
      const canvas = make("canvas", { width: 2 * svg.width.baseVal.value, height: 2 * svg.height.baseVal.value });
      const paper = canvas.getContext("2d");
      paper.fillStyle = style.getPropertyValue("--paper").trim();
      paper.fillRect(0, 0, canvas.width, canvas.height);
      paper.drawImage(image, 0, 0, canvas.width, canvas.height);
      canvas.toBlob((content) => save(fileName(chart.title, ".png"), content, "image/png"));
    };
    image.src = "data:image/svg+xml;charset=utf-8," + encodeURIComponent(text);
  }

  function toggle(bar, text, pressed, act) {
    const button = make("button", { type: "button", "aria-pressed": pressed }, bar, text);
    button.addEventListener("click", () => {
      const on = button.getAttribute("aria-pressed") !== "true";
      button.setAttribute("aria-pressed", on);
      act(on);
    });
  }

  document.querySelectorAll("figure[data-chart]").forEach((figure, number) => {
    const data = JSON.parse(figure.dataset.chart);
    const chart = { data, number, title: figure.querySelector("figcaption").textContent, logX: data.log_x, logY: false, whole: false };
    const bar = make("div", { class: "tools" }, figure);
    chart.canvas = make("div", { class: "canvas" }, figure);
    if (data.kind === "lines") {
      const again = (key) => (on) => { chart[key] = on; redraw(chart); };
      if (data.ends) toggle(bar, "whole course", false, again("whole"));
      if (!data.names) toggle(bar, "log x", Boolean(chart.logX), again("logX"));
      toggle(bar, "log y", false, again("logY"));
    }
    make("button", { type: "button" }, bar, "CSV").addEventListener("click", () => save(fileName(chart.title, ".csv"), csv(table(chart)), "text/csv"));
    make("button", { type: "button" }, bar, "PNG").addEventListener("click", () => picture(chart));
    chart.canvas.addEventListener("pointermove", (event) => chart.hover && show(chart.hover(event), event));
    chart.canvas.addEventListener("pointerleave", () => { tip.hidden = true; chart.leave?.(); });
    charts.push(chart);
  });
  function show(told, event) {
    tip.replaceChildren();
    for (const [variant, text] of told) {
      const line = make("div", {}, tip);
      if (variant) make("i", { style: `background:${look(variant).colour}` }, line);
      line.append(text);
    }
    tip.hidden = false;
    const room = document.documentElement.clientWidth;
    tip.style.left = `${Math.min(event.pageX + 14, window.scrollX + room - tip.offsetWidth - 8)}px`;
    tip.style.top = `${event.pageY + 16}px`;
  }
  let width = 0;
  new ResizeObserver(() => {
    if (width === document.body.clientWidth) return;
    width = document.body.clientWidth;
    charts.forEach(redraw);
  }).observe(document.body);

  /* Variants that hide, in charts and in tables. */
  document.querySelectorAll(".legend button").forEach((button) => {
    button.addEventListener("click", () => {
      const variant = button.dataset.variant;
      hidden.has(variant) ? hidden.delete(variant) : hidden.add(variant);
      button.setAttribute("aria-pressed", !hidden.has(variant));
      charts.forEach(redraw);
      tables.forEach((each) => each.filter());
    });
  });

  /* Tables that sort and filter. */
  const number = (text) => {
    const found = text.replaceAll(",", "").match(/[-+−]?\d+(\.\d+)?(e[-+]?\d+)?/i);
    return found ? Number(found[0].replace("−", "-")) : NaN;
  };
  const tables = [...document.querySelectorAll("table.data")].map((node) => {
    const body = node.tBodies[0];
    const heads = [...node.tHead.rows[0].cells];
    const rows = [...body.rows];
    const of = heads.findIndex((head) => head.textContent === "variant");
    const bar = make("div", { class: "tools" });
    node.parentElement.before(bar);
    const input = make("input", { type: "search", placeholder: "filter rows", "aria-label": "filter rows" });
    if (rows.length > 3) bar.append(input);
    const filter = () => {
      const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
      for (const row of rows) {
        const text = row.textContent.toLowerCase();
        row.hidden = (of >= 0 && hidden.has(row.cells[of].textContent)) || !words.every((word) => text.includes(word));
      }
    };
    input.addEventListener("input", filter);
    make("button", { type: "button" }, bar, "CSV").addEventListener("click", () => {
      const kept = [...body.rows].filter((row) => !row.hidden);
      const text = (each) => each.textContent.trim().replaceAll("\u00a0", " ");
      const texts = [heads, ...kept.map((row) => [...row.cells])].map((cells) => cells.map(text));
      save(fileName(node.dataset.name, ".csv"), csv(texts), "text/csv");
    });
    heads.forEach((head, column) => {
      const button = make("button", { type: "button" }, null, head.textContent);
      head.replaceChildren(button);
      button.addEventListener("click", () => {
        const up = head.getAttribute("aria-sort") !== "ascending";
        heads.forEach((each) => each.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", up ? "ascending" : "descending");
        const texts = new Map(rows.map((row) => [row, row.cells[column].textContent.trim()]));
        const numeric = rows.every((row) => !texts.get(row) || /^[-+−]?\d/.test(texts.get(row)));
        const compared = (a, b) => {
          const [x, y] = [texts.get(a), texts.get(b)];
          if (!x || !y) return x ? -1 : y ? 1 : 0; // empty cells last, whatever the direction
          const order = numeric ? number(x) - number(y) : x.localeCompare(y, "en", { numeric: true });
          return up ? order : -order;
        };
        body.append(...[...rows].sort(compared));
      });
    });
    return { filter };
  });

  /* What scrolls on to the right fades out there. */
  const wide = [...document.querySelectorAll(".wide")];
  const fade = (each) => each.classList.toggle("more", each.scrollLeft + each.clientWidth < each.scrollWidth - 1);
  wide.forEach((each) => each.addEventListener("scroll", () => fade(each), { passive: true }));
  new ResizeObserver(() => wide.forEach(fade)).observe(document.body);

  let opened = [];
  addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("details:not([open])")];
    opened.forEach((each) => (each.open = true));
  });
  addEventListener("afterprint", () => opened.forEach((each) => (each.open = false)));
})();
