"use strict";
// Draws the report. Texts come from a log and are hostile: they are set as textContent, never as markup.
(() => {
const KINDS = ["connection", "association", "datagrams", "listener", "accepted", "name", "refusal"];
const STATES = ["ok", "failed", "unknown", "refused"];
const PHASES = ["dial", "greeting", "login", "reply"];
const [OK, FAILED, UNKNOWN, REFUSED] = [0, 1, 2, 3];
const DIRECT = 1;
const ROW = 22, SPARE = 8, PRINTED = 500, LISTED = 60;

const $ = id => document.getElementById(id);
const data = JSON.parse($("data").textContent);
const text = index => index < 0 ? "" : data.texts[index];

// One object for each row; see rows.py for the order of the list.
const all = data.rows.map(([kind, time, seconds, state, route, program, pid, host, port, hops, errno, error, more, run]) =>
  ({kind: KINDS[kind], time, seconds, state, route, program: text(program), pid, host: text(host), port, hops,
    errno: text(errno), error: text(error), more, run}));
for (const row of all) {
  row.place = row.port ? (row.host.includes(":") ? `[${row.host}]:${row.port}` : `${row.host}:${row.port}`) : row.host;
  row.group = groupOf(row);
}

// What the buttons show and hide.
const GROUPS = {
  tunnelled: "Through proxies", failed: "Failed", direct: "Direct", refused: "Refused", name: "Names", other: "UDP and listeners",
};
function groupOf(row) {
  if (row.kind === "refusal") return "refused";
  if (row.kind === "name") return "name";
  if (row.state === FAILED) return "failed";
  if (row.kind === "listener" || row.kind === "accepted" || row.kind === "association") return "other";
  if (row.route === DIRECT) return "direct";
  return row.kind === "connection" ? "tunnelled" : "other";
}

// ---------------------------------------------------------------- helpers

function make(tag, className, content) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (content !== undefined) element.textContent = content;
  return element;
}
function time(seconds) {
  if (seconds === null || seconds === undefined) return "";
  if (seconds < 0.0009995) return `${Math.round(seconds * 1e6)} µs`;
  if (seconds < 0.9995) return `${(seconds * 1000).toPrecision(3).replace(/\.0+$/, "")} ms`;
  return seconds < 60 ? `${seconds.toFixed(2)} s` : `${Math.floor(seconds / 60)} min ${(seconds % 60).toFixed(0)} s`;
}
function clock(seconds) {
  return seconds < 60 ? `${seconds.toFixed(3)} s` : `${Math.floor(seconds / 60)}:${(seconds % 60).toFixed(2).padStart(5, "0")}`;
}
function bytes(count) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0;
  while (count >= 1000 && unit < 4) { count /= 1000; unit++; }
  return `${unit ? count.toPrecision(3) : count} ${units[unit]}`;
}
function counted(count, noun) { return `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`; }
function quantile(sorted, part) {
  return sorted.length ? sorted[Math.min(sorted.length - 1, Math.ceil(part * sorted.length) - 1)] : null;
}
function haystack(row) {
  if (row.hay === undefined) {
    const more = Object.values(row.more).flat().join(" ");
    const hops = row.hops.map(hop => text(hop[0])).join(" ");
    row.hay = `${row.kind} ${STATES[row.state]} ${row.program} ${row.pid} ${row.place} ${row.errno} ${row.error} ${hops} ${more}`
      .toLowerCase();
  }
  return row.hay;
}
const result = row => row.state === REFUSED ? `refused ${row.errno}` : row.state === FAILED ? row.errno || "failed"
  : row.kind === "name" ? row.more.how : row.state === UNKNOWN ? "not seen" : row.route === DIRECT ? "direct"
  : row.kind === "connection" ? "ok" : row.kind;

// ---------------------------------------------------------------- what is shown

const hidden = new Set();
let words = [], run = data.runs.length - 1, shown = [], chosen = -1, scale = "view", from = 0, to = 1;
const ofRun = () => all.filter(row => row.run === run);

function select() {
  const rows = ofRun();
  shown = rows.filter(row => !hidden.has(row.group) && row.time <= to && row.time + (row.seconds || 0) >= from
    && words.every(word => haystack(row).includes(word)));
  chosen = -1;
  $("details").hidden = true;
  $("spacer").style.height = `${shown.length * ROW}px`;
  // Few rows need no room for many; the style has the most.
  $("waterfall").style.height = `${Math.max(6, shown.length) * ROW}px`;
  $("waterfall").setAttribute("aria-rowcount", shown.length);
  $("waterfall").scrollTop = 0;
  summarise(rows);
  drawRows();
  drawOverview(rows);
  drawTables();
}

function extent(rows) {
  let first = Infinity, last = -Infinity;
  for (const row of rows) {
    first = Math.min(first, row.time);
    last = Math.max(last, row.time + (row.seconds || 0));
  }
  return first <= last ? [first, Math.max(last, first + 1e-3)] : [0, 1];
}
function zoomAll() { [from, to] = extent(ofRun()); }
function zoom(factor) {
  const [first, last] = extent(ofRun()), middle = (from + to) / 2;
  const half = Math.max((to - from) / 2 * factor, 5e-4);
  [from, to] = [Math.max(first, middle - half), Math.min(last, middle + half)];
  select();
}

function summarise(rows) {
  const count = group => rows.filter(row => row.group === group).length;
  const summary = $("summary");
  summary.textContent = "";
  const failed = count("failed"), refused = count("refused");
  summary.append(`${counted(count("tunnelled"), "connection")} through proxies, `);
  summary.append(failed ? make("b", "", `${failed} failed`) : "none failed", ", ");
  summary.append(`${count("direct")} direct, `, refused ? make("b", "", `${refused} refused`) : "none refused", ", ",
    `${counted(count("name"), "name")} looked up`);
  summary.append(shown.length === rows.length ? "." : `. Shown: ${shown.length.toLocaleString("en")} of ${counted(rows.length, "row")}.`);
}

// ---------------------------------------------------------------- the waterfall

// The bars' scale: the time of the rows in view ("view"), all of it ("whole"), or durations from the left ("compare").
let first_ = 0, last_ = 1;
function setSpan() {
  if (scale === "whole") return [first_, last_] = [from, to];
  const [top, bottom] = inView(), part = scale === "view" ? shown.slice(top, bottom) : shown;
  const lengths = part.map(row => row.seconds || 0).sort((a, b) => a - b);
  // One that ran into a time limit would leave no room for the others.
  const usual = Math.max(quantile(lengths, .95) || 0, 1e-5);
  if (scale === "compare") return [first_, last_] = [0, usual * 1.1];
  const [begin, end] = extent(part);
  const last = Math.min(end, (part.length ? part.at(-1).time : 1) + usual);
  return [first_, last_] = [begin, Math.max(last, begin + 1e-5)];
}
function inView() {
  const waterfall = $("waterfall"), top = Math.floor(waterfall.scrollTop / ROW);
  return [top, Math.min(shown.length, top + Math.ceil(waterfall.clientHeight / ROW))];
}
const percent = moment => (moment - first_) / (last_ - first_) * 100;

function bars(row) {
  const cell = make("span", "bars");
  const compare = scale === "compare", start = compare ? 0 : row.time;
  if (row.seconds === null || row.kind === "refusal") {
    const mark = make("span", `mark ${row.kind === "refusal" ? "refused" : ""}`, row.kind === "refusal" ? "✕" : "◆");
    mark.style.left = `${compare ? 1 : percent(start)}%`;
    cell.append(mark);
    return cell;
  }
  const pieces = [];
  const begin = start + (row.more.waited || 0);
  let at = begin;
  row.hops.forEach((hop, number) => PHASES.forEach((phase, index) => {
    const seconds = hop[index + 1];
    if (seconds === null || seconds === undefined) return;
    pieces.push([phase, at, seconds, number, pieces.length && pieces.at(-1)[3] !== number]);
    at += seconds;
  }));
  if (begin > start) pieces.unshift(["plain", start, begin - start, -1, false]);
  if (!pieces.length) pieces.push([row.kind === "name" ? "look-up" : "plain", start, row.seconds, 0, false]);
  pieces.forEach(([phase, when, seconds, number, isNext], index) => {
    const bar = make("span", `bar ${phase}${isNext ? " hop" : ""}${index ? "" : " first"}`);
    if (index === pieces.length - 1) bar.className += ` last${row.state === FAILED ? " failed" : ""}`;
    const left = percent(when);
    bar.style.left = `${left}%`;
    bar.style.width = `${Math.max(percent(when + seconds) - left, 0)}%`;
    bar.title = number >= 0 && row.hops.length ? `${text(row.hops[number][0])}: ${phase} ${time(seconds)}` : time(seconds);
    cell.append(bar);
  });
  return cell;
}

function rowElement(row, index) {
  const element = make("div", "row");
  element.setAttribute("role", "row");
  element.setAttribute("aria-rowindex", index + 1);
  element.id = `row-${index}`;
  element.dataset.index = index;
  element.setAttribute("aria-selected", index === chosen);
  const bad = row.state === FAILED || row.state === REFUSED;
  const cells = [["when", clock(row.time)], ["who", row.program], ["where", row.place], [`what${bad ? " bad" : ""}`, result(row)],
    ["how-long", time(row.seconds)]];
  for (const [name, content] of cells) {
    const cell = make("span", name, content);
    cell.setAttribute("role", "gridcell");
    if (name === "where" || name === "who") cell.title = content;
    element.append(cell);
  }
  element.append(bars(row));
  return element;
}

function drawRows(first, count) {
  const waterfall = $("waterfall"), rows = $("rows");
  if (first === undefined) {
    first = Math.max(0, Math.floor(waterfall.scrollTop / ROW) - SPARE);
    count = Math.ceil(waterfall.clientHeight / ROW) + 2 * SPARE;
    // An even one, so that the stripes stay where they are.
    first -= first % 2;
  }
  setSpan();
  const part = shown.slice(first, first + count);
  rows.style.transform = `translateY(${first * ROW}px)`;
  rows.replaceChildren(...part.map((row, index) => rowElement(row, first + index)));
  if (!shown.length) rows.replaceChildren(make("p", "none", "Nothing matches."));
  drawAxis();
}

function drawAxis() {
  const axis = $("axis"), waterfall = $("waterfall");
  axis.replaceChildren();
  const cell = waterfall.querySelector(".bars");
  if (!cell) return;
  const before = cell.offsetLeft, width = cell.clientWidth, [first, last] = [first_, last_];
  if (width < 50) return;
  const rough = (last - first) / Math.max(2, Math.floor(width / 110));
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map(each => each * power).find(each => each >= rough);
  for (let at = Math.ceil(first / step) * step; at <= last; at += step) {
    const tick = make("span", "", scale === "compare" ? time(at) : step >= 1 ? clock(at) : `${at.toFixed(Math.max(0, -Math.floor(Math.log10(step))))} s`);
    tick.style.left = `${before + (at - first) / (last - first) * width}px`;
    axis.append(tick);
  }
}

function drawOverview(rows) {
  const canvas = $("overview"), ratio = devicePixelRatio || 1;
  const width = canvas.clientWidth, height = 44;
  if (!width) return;
  canvas.width = width * ratio;
  canvas.height = height * ratio;
  const paint = canvas.getContext("2d"), style = getComputedStyle(document.documentElement);
  const colour = name => style.getPropertyValue(name).trim();
  paint.scale(ratio, ratio);
  const [first, last] = extent(rows), slots = Math.floor(width / 2);
  const good = new Float64Array(slots), bad = new Float64Array(slots);
  for (const row of rows) {
    const slot = Math.min(slots - 1, Math.floor((row.time - first) / (last - first) * slots));
    (row.state === FAILED || row.state === REFUSED ? bad : good)[slot]++;
  }
  let most = 1;
  for (let slot = 0; slot < slots; slot++) most = Math.max(most, good[slot] + bad[slot]);
  for (let slot = 0; slot < slots; slot++) {
    // The root: a few failures are seen beside a thousand successes.
    const whole = Math.sqrt((good[slot] + bad[slot]) / most) * (height - 4);
    const part = good[slot] + bad[slot] ? whole * bad[slot] / (good[slot] + bad[slot]) : 0;
    paint.fillStyle = colour("--dial");
    paint.fillRect(slot * 2, height - whole, 2, whole - part);
    paint.fillStyle = colour("--bad");
    paint.fillRect(slot * 2, height - part, 2, part);
  }
  const left = (from - first) / (last - first) * width, right = (to - first) / (last - first) * width;
  paint.fillStyle = colour("--ink");
  paint.globalAlpha = 0.12;
  paint.fillRect(0, 0, left, height);
  paint.fillRect(right, 0, width - right, height);
  if (scale === "view" && shown.length) {
    const place = moment => (moment - first) / (last - first) * width;
    paint.globalAlpha = 0.3;
    paint.fillRect(place(first_), 0, Math.max(2, place(last_) - place(first_)), height);
  }
}

// ---------------------------------------------------------------- one row

function choose(index, open) {
  if (!shown.length) return;
  chosen = Math.max(0, Math.min(shown.length - 1, index));
  const waterfall = $("waterfall"), top = chosen * ROW;
  if (top < waterfall.scrollTop) waterfall.scrollTop = top;
  else if (top + ROW > waterfall.scrollTop + waterfall.clientHeight) waterfall.scrollTop = top + ROW - waterfall.clientHeight;
  drawRows();
  waterfall.setAttribute("aria-activedescendant", `row-${chosen}`);
  if (open || !$("details").hidden) showDetails(shown[chosen]);
}

const LABELS = {
  sent: "bytes from the program", received: "bytes to the program", open: "was open for", waited: "before this path",
  ways: "paths tried", how: "answered by", place: "listens at", client: "the program's end", by: "written by",
  datagrams_sent: "datagrams from the program", datagrams_received: "datagrams to the program",
};
function showDetails(row) {
  const details = $("details"), list = make("dl");
  const line = (name, value) => { if (value !== "" && value !== undefined && value !== null) list.append(make("dt", "", name), make("dd", "", value)); };
  line("what", `${row.kind}, ${STATES[row.state]}`);
  line("errno", row.errno);
  line("why", row.error);
  line("program", `${row.program}, process ${row.pid}`);
  line("at", `${new Date((data.begin + row.time) * 1000).toISOString()} (${clock(row.time)})`);
  line("took", time(row.seconds));
  row.hops.forEach((hop, number) => {
    const phases = PHASES.map((phase, index) => [phase, hop[index + 1]]).filter(each => typeof each[1] === "number");
    line(`hop ${number + 1}`, `${text(hop[0])}  ${phases.map(([phase, seconds]) => `${phase} ${time(seconds)}`).join(", ")}`);
  });
  for (const [name, value] of Object.entries(row.more)) {
    const shownValue = name === "sent" || name === "received" ? `${bytes(value)} (${value})`
      : name === "open" || name === "waited" ? time(value) : name === "chain" && value === "" ? "the default one"
      : Array.isArray(value) ? value.join(", ") : String(value);
    line(LABELS[name] || name, shownValue);
  }
  details.replaceChildren(make("h3", "", row.place || row.kind), list);
  details.hidden = false;
}

// ---------------------------------------------------------------- tables

function groups(rows, keyOf) {
  const found = new Map();
  for (const row of rows) {
    for (const [key, seconds, phases, bad] of keyOf(row)) {
      let group = found.get(key);
      if (!group) found.set(key, group = {key, count: 0, bad: 0, seconds: [], phases: PHASES.map(() => []), bytes: 0, counted: false});
      group.count++;
      group.bad += bad;
      if (seconds !== null) group.seconds.push(seconds);
      phases.forEach((each, index) => { if (typeof each === "number") group.phases[index].push(each); });
      if (row.more.sent !== undefined) { group.bytes += row.more.sent + row.more.received; group.counted = true; }
    }
  }
  for (const group of found.values()) {
    group.seconds.sort((a, b) => a - b);
    group.phases.forEach(each => each.sort((a, b) => a - b));
  }
  return [...found.values()];
}

const orders = {};
function table(title, id, columns, rows) {
  const section = make("section"), heading = make("h2", "", title), scroll = make("div", "scroll"), element = make("table");
  element.id = id;
  const order = orders[id] || (orders[id] = {column: 1, down: true});
  const value = columns[order.column].value;
  rows.sort((a, b) => {
    const [x, y] = [value(a), value(b)];
    const less = typeof x === "string" ? x.localeCompare(y) : (x ?? -1) - (y ?? -1);
    return order.down ? -less : less;
  });
  const head = make("tr");
  columns.forEach((column, index) => {
    const cell = make("th", column.text ? "text" : ""), button = make("button", "", column.name);
    button.type = "button";
    button.onclick = () => {
      orders[id] = {column: index, down: order.column === index ? !order.down : !column.text};
      drawTables();
      document.querySelectorAll(`#${id} th button`)[index].focus();
    };
    if (index === order.column) cell.setAttribute("aria-sort", order.down ? "descending" : "ascending");
    cell.scope = "col";
    cell.append(button);
    head.append(cell);
  });
  const top = make("thead"), body = make("tbody");
  top.append(head);
  for (const row of rows.slice(0, LISTED)) {
    const line = make("tr");
    columns.forEach((column, index) => {
      const cell = make("td", column.text ? "text" : ""), content = column.show ? column.show(column.value(row), row) : String(column.value(row));
      if (index === 0 && column.search) {
        const button = make("button", "", content);
        button.type = "button";
        button.title = "Search for this";
        button.onclick = () => search(column.search(row));
        cell.title = content;
        cell.append(button);
      } else {
        cell.textContent = content;
        if (column.bad && column.value(row)) cell.className += " bad";
      }
      line.append(cell);
    });
    body.append(line);
  }
  element.append(top, body);
  if (rows.length) scroll.append(element);
  else scroll.append(make("p", "none", "None."));
  if (rows.length > LISTED) scroll.append(make("p", "none", `and ${rows.length - LISTED} more`));
  section.append(heading, scroll);
  return section;
}

const key = (name, search) => ({name, text: true, value: row => row.key, search: search && (row => row.key)});
const number = (name, value, bad) => ({name, value, bad, show: each => each.toLocaleString("en")});
const took = (name, of, part) => ({name, value: row => quantile(of(row), part), show: each => each === null ? "–" : time(each)});
const whole = [took("p50", row => row.seconds, .5), took("p95", row => row.seconds, .95)];
const phases = PHASES.flatMap((phase, index) => [
  took(`${phase} p50`, row => row.phases[index], .5), took("p95", row => row.phases[index], .95)]);
const bytesColumn = {name: "bytes", value: row => row.counted ? row.bytes : null, show: each => each === null ? "–" : bytes(each)};

function drawTables() {
  const through = shown.filter(row => row.kind === "connection" && row.route !== DIRECT);
  const bad = row => row.state === FAILED ? 1 : 0;
  // Only a broker counts them.
  const traffic = through.some(row => row.more.sent !== undefined) ? [bytesColumn] : [];
  const firstPhases = row => PHASES.map((_, index) => row.hops.reduce(
    (sum, hop) => typeof hop[index + 1] === "number" ? (sum ?? 0) + hop[index + 1] : sum, null));
  const byHop = row => row.hops.map((hop, index) => {
    const isLast = index === row.hops.length - 1;
    const seconds = hop.slice(1).reduce((sum, each) => sum + (each || 0), 0);
    return [text(hop[0]), seconds, hop.slice(1), isLast ? bad(row) : 0];
  });
  const errors = number("failed", row => row.bad, true);
  const parts = [
    table("By hop", "by-hop", [key("hop", true), number("connections", row => row.count), errors, ...whole, ...phases],
      groups(through, byHop)),
    table("By program", "by-program", [key("program", true), number("connections", row => row.count), errors, ...whole, ...traffic, ...phases],
      groups(through, row => [[row.program, row.seconds, firstPhases(row), bad(row)]])),
    table("By destination", "by-destination",
      [key("destination", true), number("connections", row => row.count), errors, ...whole, ...traffic, ...phases],
      groups(through, row => [[row.place, row.seconds, firstPhases(row), bad(row)]])),
  ];
  const why = (rows, keyOf) => {
    const found = new Map();
    for (const row of rows) {
      const known = found.get(keyOf(row)) || {key: keyOf(row), count: 0, places: new Set(), programs: new Set()};
      found.set(known.key, known);
      known.count++;
      known.places.add(row.place || "?");
      known.programs.add(row.program);
    }
    return [...found.values()];
  };
  const few = name => ({name, text: true, value: row => [...row[name]].slice(0, 6).join(", ") + (row[name].size > 6 ? ` and ${row[name].size - 6} more` : "")});
  const list = [number("times", row => row.count), few("places"), few("programs")];
  parts.push(
    table("Refused here, or failed, and why", "refused", [key("why"), ...list],
      why(shown.filter(row => row.state === REFUSED || row.state === FAILED), row => `${row.errno}: ${row.error}`)),
    table("Left directly, by which rule", "direct", [key("rule"), ...list],
      why(shown.filter(row => row.route === DIRECT && row.kind !== "listener"), row => row.more.reason || "?")),
    table("Names", "names", [key("answered by"), ...list],
      why(shown.filter(row => row.kind === "name"), row => row.more.how)));
  $("tables").replaceChildren(...parts);
}

// ---------------------------------------------------------------- controls

function search(words_) {
  $("search").value = words_;
  words = words_.toLowerCase().split(/\s+/).filter(Boolean);
  select();
}
$("search").addEventListener("input", event => search(event.target.value));
$("controls").addEventListener("submit", event => event.preventDefault());
for (const [group, name] of Object.entries(GROUPS)) {
  const button = make("button", "kind", name);
  button.type = "button";
  button.id = `show-${group}`;
  button.setAttribute("aria-pressed", "true");
  button.onclick = () => {
    if (!hidden.delete(group)) hidden.add(group);
    button.setAttribute("aria-pressed", String(!hidden.has(group)));
    select();
  };
  $("filters").append(button);
}
const SCALES = {
  view: ["In view", "The time of the rows in view ( v )"], whole: ["Whole", "All of the time ( w )"],
  compare: ["Compare", "All bars begin at the left ( c )"],
};
function setScale(name) {
  scale = name;
  for (const each of Object.keys(SCALES)) $(`scale-${each}`).setAttribute("aria-pressed", String(each === scale));
  drawRows();
  drawOverview(ofRun());
}
for (const [name, [label, title]] of Object.entries(SCALES)) {
  const button = make("button", "", label);
  button.type = "button";
  button.id = `scale-${name}`;
  button.title = title;
  button.setAttribute("aria-pressed", String(name === scale));
  button.onclick = () => setScale(name);
  $("scales").append(button);
}
$("zoom-in").onclick = () => zoom(.5);
$("zoom-out").onclick = () => zoom(2);
$("zoom-all").onclick = () => { zoomAll(); select(); };
if (data.runs.length > 1) {
  $("run-label").hidden = false;
  data.runs.forEach((each, index) => {
    const option = make("option", "", `${each.run} ${each.program}`);
    option.value = index;
    $("run").append(option);
  });
  $("run").value = run;
  $("run").onchange = () => { run = Number($("run").value); begin(); };
}

let waiting = false;
$("waterfall").addEventListener("scroll", () => {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => {
    waiting = false;
    drawRows();
    if (scale === "view") drawOverview(ofRun());
  });
});
$("waterfall").addEventListener("click", event => {
  const row = event.target.closest(".row");
  if (row) choose(Number(row.dataset.index), true);
});
$("waterfall").addEventListener("keydown", event => {
  const page = Math.max(1, Math.floor($("waterfall").clientHeight / ROW) - 1);
  const moves = {ArrowDown: chosen + 1, ArrowUp: chosen < 0 ? 0 : chosen - 1, PageDown: chosen + page, PageUp: chosen - page, Home: 0, End: shown.length - 1};
  if (event.key in moves) choose(moves[event.key], false);
  else if (event.key === "Enter" || event.key === " ") choose(chosen, true);
  else return;
  event.preventDefault();
});
document.addEventListener("keydown", event => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "Escape") {
    if (!$("details").hidden) $("details").hidden = true;
    else if ($("search").value) search("");
    return;
  }
  if (event.target.matches("input, select")) return;
  if (event.key === "/") { $("search").focus(); $("search").select(); }
  else if (["c", "v", "w"].includes(event.key)) setScale({c: "compare", v: "view", w: "whole"}[event.key]);
  else if (event.key === "+" || event.key === "=") zoom(.5);
  else if (event.key === "-") zoom(2);
  else if (event.key === "0") { zoomAll(); select(); }
  else return;
  event.preventDefault();
});

let drag = null;
const moment = event => {
  const [first, last] = extent(ofRun()), box = $("overview").getBoundingClientRect();
  return first + Math.max(0, Math.min(1, (event.clientX - box.left) / box.width)) * (last - first);
};
$("overview").addEventListener("pointerdown", event => { drag = moment(event); $("overview").setPointerCapture(event.pointerId); });
$("overview").addEventListener("pointermove", event => {
  if (drag === null) return;
  const now = moment(event);
  [from, to] = now < drag ? [now, drag] : [drag, now];
  drawOverview(ofRun());
});
$("overview").addEventListener("pointerup", event => {
  if (drag === null) return;
  const [first, last] = extent(ofRun());
  drag = null;
  if (Math.abs(to - from) < (last - first) / 400) zoomAll();
  select();
});
addEventListener("resize", () => { drawRows(); drawOverview(ofRun()); });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawOverview(ofRun()));
addEventListener("beforeprint", () => drawRows(0, PRINTED));
addEventListener("afterprint", () => drawRows());

// ---------------------------------------------------------------- begin

function begin() {
  const about = data.runs[run] || {program: "", confined: false, chains: []};
  $("program").textContent = about.program;
  document.title = `${about.program || "pysocksify"}: report`;
  const notes = about.chains.map(each => `${each.name ? `${each.name}: ` : ""}${each.proxies.join(" → ") || "no proxies"}`
    + `${each.type === "strict" ? "" : ` (${each.type})`}`);
  if (about.confined) notes.push("confined");
  if (data.lost) notes.push(`${counted(data.lost, "line")} of the log were lost`);
  if (data.strange) notes.push(`${counted(data.strange, "line")} of the file not understood`);
  $("notes").textContent = notes.join(" · ");
  zoomAll();
  select();
}
const legend = [["dial", "dial"], ["greeting", "greeting"], ["login", "login"], ["reply", "reply"], ["look-up", "name"], ["plain", "direct, or paths before"]];
for (const [name, words_] of legend) {
  const item = make("span");
  item.append(make("i", name), words_);
  $("legend").append(item);
}
$("legend").append(make("span", "", "✕ refused   ◆ a moment   a gap: the next hop"));
$("version").textContent = `pysocksify ${data.version}`;
begin();
performance.mark("drawn");
})();
