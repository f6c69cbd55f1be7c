"use strict";
// What the page shows. The laws are in laws.js; `start` is replaced by the page's builder.

const START = /*START*/{v: 8, m: 2, s: 2, L: 3, seed: "0"};
const $ = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";
const state = {};  // grammar, derivation, hidden, selected {level, node}, changed (names of nodes)

function shape(kind, attributes, parent, text) {
  const made = document.createElementNS(SVG, kind);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text !== undefined) made.textContent = text;
  parent.append(made);
  return made;
}

function element(kind, attributes, parent, text) {
  const made = document.createElement(kind);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text !== undefined) made.textContent = text;
  if (parent) parent.append(made);
  return made;
}

function colour(symbol, share = 1) {
  return `hsl(${(symbol * 360) / state.grammar.v} 65% ${78 - 14 * share}% / ${0.12 + 0.88 * share})`;
}

function randomBelow(bound) {  // of BigInts
  const bytes = bound.toString(16).length / 2 + 9, random = crypto.getRandomValues(new Uint8Array(bytes));
  return BigInt("0x" + Array.from(random, (byte) => byte.toString(16).padStart(2, "0")).join("")) % bound;
}

function visibleText() {
  const {hidden} = state, count = hidden.filter((h) => !h).length;
  return count === hidden.length ? "all tokens" : count ? `the ${count} visible token${count > 1 ? "s" : ""}` : "nothing";
}

function drawSentence(index) {
  state.derivation = state.grammar.derivation(index ?? randomBelow(state.grammar.count));
  state.changed = new Set();
}

function redraw(level, node) {
  const {grammar: g, derivation: old} = state;
  const symbols = old.symbols.map((row) => row.slice()), choices = old.choices.map((row) => row.slice());
  const visit = (l, n) => {
    if (!l) return;
    choices[l][n] = Number(randomBelow(BigInt(g.m)));
    g.rules[l][symbols[l][n]][choices[l][n]].forEach((child, c) => {
      symbols[l - 1][n * g.s + c] = child;
      visit(l - 1, n * g.s + c);
    });
  };
  visit(level, node);
  state.derivation = {symbols, choices};
  state.changed = new Set(symbols.flatMap((row, l) => row.flatMap((a, n) => (a !== old.symbols[l][n] ? [`${l}.${n}`] : []))));
  if (level) state.selected = {level, node};
}

function drawTree() {
  const {grammar: g, derivation, hidden, selected, changed, laws} = state;
  const step = Math.max(30, Math.min(64, 1150 / g.d)), height = 66, width = g.d * step + 70;
  const x = (level, node) => 60 + (node + 0.5) * step * g.s ** level, y = (level) => 26 + (g.L - level) * height;
  const svg = document.createElementNS(SVG, "svg");
  for (const [name, value] of Object.entries({width, height: g.L * height + 60, role: "group"})) svg.setAttribute(name, value);
  for (let level = g.L; level >= 0; level--) {
    shape("text", {x: 2, y: y(level) + 4}, svg, level === g.L ? "root" : level ? `level ${level}` : "tokens");
    for (let node = 0; node < g.nodes[level] && level < g.L; node++) {
      const parent = Math.floor(node / g.s), is = changed.has(`${level}.${node}`) ? "changed" : "";
      shape("line", {x1: x(level + 1, parent), y1: y(level + 1), x2: x(level, node), y2: y(level), class: is}, svg);
    }
  }
  for (let level = g.L; level >= 0; level--) {
    for (let node = 0; node < g.nodes[level]; node++) {
      const symbol = derivation.symbols[level][node], known = laws.posterior[level][node][symbol], r = Math.min(15, step / 2.3);
      const name = level ? `level ${level}, node ${node + 1}` : `token ${node + 1}`;
      const marks = [changed.has(`${level}.${node}`) && "changed", selected.level === level && selected.node === node && "selected"];
      const group = shape("g", {class: ["node", ...marks.filter(Boolean)].join(" "), tabindex: 0, role: "button",
        "aria-label": name, "data-level": level, "data-node": node}, svg);
      const fill = {fill: level || !hidden[node] ? colour(symbol, level ? known : 1) : "Canvas"};
      const place = {x: x(level, node), y: y(level)};
      if (level) shape("circle", {cx: place.x, cy: place.y, r, fill: "Canvas"}, group);  // hides the lines
      if (level) shape("circle", {cx: place.x, cy: place.y, r, ...fill}, group);
      else shape("rect", {x: place.x - r, y: place.y - r, width: 2 * r, height: 2 * r, rx: 3, ...fill}, group);
      const hide = !level && hidden[node];
      shape("text", {...place, class: hide ? "" : "on", "text-anchor": "middle", "dominant-baseline": "central"}, group, hide ? "?" : symbol);
      shape("title", {}, group, `${name}: symbol ${symbol}, P = ${known.toFixed(4)} given ${visibleText()}`);
    }
  }
  $("tree").replaceChildren(svg);
}

function bars(place, law, truth) {
  const rows = Array.from(law, (p, symbol) => {
    const row = element("div", {class: symbol === truth ? "row true" : "row"});
    element("span", {}, row, symbol);
    const bar = element("i", {}, element("span", {}, row));
    bar.style.width = `${100 * p}%`;
    bar.style.background = colour(symbol);
    element("span", {}, row, p === 0 ? "0" : p.toFixed(4));
    return row;
  });
  place.replaceChildren(...rows);
}

function table(place, header, rows) {
  const made = element("table", {}), head = element("tr", {}, element("thead", {}, made)), body = element("tbody", {}, made);
  for (const name of header) element("th", {}, head, name);
  for (const row of rows) {
    const line = element("tr", {}, body);
    for (const value of row) element("td", {}, line, value);
  }
  place.replaceChildren(made);
}

function drawLaws() {
  const {grammar: g, derivation, hidden, selected: {level, node}, laws} = state;
  const truth = derivation.symbols[level][node], tokens = derivation.symbols[0];
  const what = level ? `node ${node + 1} of level ${level}${level === g.L ? " (root)" : ""}` : `token ${node + 1}`;
  const law = level ? laws.posterior[level][node] : laws.outside[0][node];
  const given = level ? visibleText() : hidden[node] ? visibleText() : "the other visible tokens";
  $("posterior-title").textContent = `Posterior of ${what}`;
  $("posterior-text").textContent = `Given ${given}; its symbol is ${truth}. Entropy ${entropyOf(law).toFixed(4)} nats.`;
  bars($("posterior"), law, truth);
  const i = level ? node * g.s ** level : node, next = g.nextTokenGiven(tokens, hidden, i);
  const before = hidden.slice(0, i).filter((h) => !h).length;
  $("next-title").textContent = `Next-token law of token ${i + 1}`;
  $("next-text").textContent = `Given ${before ? `${before === i ? `all ${i}` : `the ${before} visible`} token${before > 1 ? "s" : ""} before it` : "nothing before it"}; it is ${tokens[i]}. ` +
    `Entropy ${entropyOf(next).toFixed(4)} nats.`;
  bars($("next"), next, tokens[i]);
  const used = Math.max(level, 1), at = level ? node : Math.floor(node / g.s), symbol = derivation.symbols[used][at];
  const rules = g.rules[used][symbol].map((rule, k) =>
    element("span", {class: k === derivation.choices[used][at] ? "rule used" : "rule"}, null, `${symbol} → ${rule.join(" ")}`));
  $("rules").replaceChildren(...rules);
}

function drawCorrelations() {
  const values = state.grammar.correlations(), positive = values.filter((c) => c > 1e-12);
  const w = 330, h = 205, [left, bottom, top, right] = [52, 44, 8, 8];
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", `0 0 ${w} ${h}`);
  svg.setAttribute("width", "100%");
  if (positive.length) {
    const high = Math.ceil(Math.log10(Math.max(...positive))), low = Math.floor(Math.log10(Math.min(...positive)));
    const span = Math.max(1, high - low), wide = Math.log(Math.max(2, values.length));
    const x = (t) => left + (Math.log(t) / wide) * (w - left - right);
    const y = (c) => top + ((high - Math.log10(c)) / span) * (h - top - bottom);
    for (let e = low; e <= low + span; e++) {
      shape("line", {x1: left, x2: w - right, y1: y(10 ** e), y2: y(10 ** e), stroke: "#8884"}, svg);
      shape("text", {x: left - 6, y: y(10 ** e) + 4, "text-anchor": "end"}, svg, `1e${e}`);
    }
    for (let t = 1; t <= values.length; t *= 2) shape("text", {x: x(t), y: h - 26, "text-anchor": "middle"}, svg, t);
    const path = values.flatMap((c, i) => (c > 1e-12 ? [`${x(i + 1)},${y(c)}`] : []));
    shape("polyline", {points: path.join(" "), fill: "none", stroke: "#1c7ed6", "stroke-width": 1.5}, svg);
    values.forEach((c, i) => {
      if (c > 1e-12) shape("title", {}, shape("circle", {cx: x(i + 1), cy: y(c), r: 3.2, fill: "#1c7ed6"}, svg), `t = ${i + 1}: ${c.toExponential(3)}`);
    });
    shape("text", {x: w - right, y: h - 6, "text-anchor": "end"}, svg, "distance t, tokens");
    $("correlations").replaceChildren(svg);
  } else $("correlations").textContent = "No correlation at any distance.";
}

function number(value) {
  return value === Infinity ? "never" : value < 1e6 ? String(Math.round(value)) : value.toExponential(2);
}

function drawGrammar() {
  const g = state.grammar;
  $("name").textContent = `Grammar.from_name("v${g.v}-m${g.m}-s${g.s}-L${g.L}", rules_seed=${g.seed})`;
  drawCorrelations();
  table($("learning"), ["level", "transformer", "CNN"], g.sampleComplexity().map((row) => [row.level, number(row.transformer), number(row.cnn)]));
  const digits = g.count.toString();
  table($("size"), ["", ""], [
    ["tokens of a sentence", g.d],
    ["different sentences", digits.length < 8 ? digits : `10^${(digits.length - 1 + Math.log10(Number(digits.slice(0, 15)) / 10 ** Math.min(14, digits.length - 1))).toFixed(2)}`],
    ["entropy of a token, nats", (g.entropy / g.d).toFixed(4)],
    ["share of tuples that are rules", ((g.v * g.m) / g.v ** g.s).toPrecision(3)],
  ]);
}

function refresh() {
  state.laws = state.grammar.beliefs(state.grammar.evidence(state.derivation.symbols[0], state.hidden));
  drawTree();
  drawLaws();
}

function setGrammar({v, m, s, L, seed}, index) {
  const why = refusal(v, m, s, L, seed);
  $("error").textContent = why;
  if (why) return false;
  state.grammar = new Grammar(v, m, s, L, seed);
  state.hidden = new Array(state.grammar.d).fill(false);
  state.selected = {level: L, node: 0};
  drawSentence(index);
  drawGrammar();
  refresh();
  return true;
}

function clicked(target) {
  const group = target.closest && target.closest(".node");
  if (!group) return;
  const level = Number(group.dataset.level), node = Number(group.dataset.node);
  if (level) redraw(level, node);
  else {
    state.selected = {level, node};
    state.hidden[node] = !state.hidden[node];
    state.changed = new Set();
  }
  refresh();
  const again = document.querySelector(`.node[data-level="${level}"][data-node="${node}"]`);
  if (again) again.focus({preventScroll: true});
}

function hideWhere(test) {
  state.hidden = state.hidden.map((_, i) => test(i));
  state.changed = new Set();
  refresh();
}

function listen() {
  const form = $("settings");
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const values = Object.fromEntries(["v", "m", "s", "L"].map((name) => [name, Number(form[name].value)]));
    setGrammar({...values, seed: form.seed.value.trim()});
  });
  $("tree").addEventListener("click", (event) => clicked(event.target));
  $("tree").addEventListener("keydown", (event) => {
    if (event.key === "Enter" || event.key === " ") { event.preventDefault(); clicked(event.target); }
  });
  $("new").addEventListener("click", () => { drawSentence(); refresh(); });
  $("hide").addEventListener("click", () => hideWhere(() => true));
  $("show").addEventListener("click", () => hideWhere(() => false));
  $("prefix").addEventListener("click", () => {
    const {level, node} = state.selected, from = node * state.grammar.s ** level;
    hideWhere((i) => i >= from);
  });
}

// page.html?v=8&m=2&s=2&L=3&seed=0&sentence=123&hidden=4,5&select=2.1 opens the page in that state.
function open() {
  const query = new URLSearchParams(location.search), wanted = {...START};
  for (const name of ["v", "m", "s", "L"]) if (query.has(name)) wanted[name] = Number(query.get(name));
  if (query.has("seed")) wanted.seed = query.get("seed");
  const form = $("settings"), sentence = query.get("sentence");
  for (const [name, value] of Object.entries(wanted)) form[name].value = value;
  listen();
  if (!setGrammar(wanted)) { setGrammar(START); $("error").textContent = refusal(...["v", "m", "s", "L", "seed"].map((name) => wanted[name])); return; }
  if (sentence && /^\d+$/.test(sentence) && BigInt(sentence) < state.grammar.count) drawSentence(BigInt(sentence));
  for (const i of (query.get("hidden") || "").split(",")) if (/^\d+$/.test(i) && Number(i) < state.grammar.d) state.hidden[Number(i)] = true;
  const select = /^(\d+)\.(\d+)$/.exec(query.get("select") || "");
  if (select && Number(select[1]) <= state.grammar.L && Number(select[2]) < state.grammar.nodes[Number(select[1])]) {
    state.selected = {level: Number(select[1]), node: Number(select[2])};
  }
  refresh();
}

open();
