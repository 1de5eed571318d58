// Keeps a page up to date: steps as they end, and the page itself when a deployment has begun or ended.
// Without it everything can be read all the same, after a reload.
"use strict";

const body = document.body;
const link = document.getElementById("link");
const live = document.getElementById("live");
const runs = document.getElementById("runs");
let waiting = [];
let last = body.dataset.cursor;

function element(name, kind, text) {
  const made = document.createElement(name);
  if (kind) made.className = kind;
  if (text) made.textContent = text;
  return made;
}

function length(ms) {
  return ms < 1000 ? `${ms} ms` : ms < 120000 ? `${(Math.floor(ms / 100) / 10).toFixed(1)} s` : `${Math.floor(ms / 60000)} min`;
}

function ago(moment) {
  const seconds = Math.max(0, Math.floor((Date.now() - Date.parse(moment)) / 1000));
  if (seconds < 120) return `${seconds} s ago`;
  if (seconds < 7200) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 172800) return `${Math.floor(seconds / 3600)} h ago`;
  return `${Math.floor(seconds / 86400)} days ago`;
}

function tick() {
  for (const time of document.querySelectorAll("time[datetime]")) time.textContent = ago(time.dateTime);
}

/** The list of one running deployment; made when its first event comes. */
function run(environment, id) {
  const known = document.getElementById(`run-${id}`);
  if (known) return known;
  const made = element("div");
  made.id = `run-${id}`;
  const head = element("p");
  const where = element("a", "", environment);
  where.href = `/_deploy/view/${encodeURIComponent(environment)}/${encodeURIComponent(id)}`;
  head.append(where, " ", element("span", "state running", "running"));
  made.append(head, element("ol"));
  runs.append(made);
  live.hidden = false;
  return made;
}

function step(event) {
  last = event.lastEventId;
  const told = JSON.parse(event.data);
  const line = element("li");
  line.append(
    element("span", `state ${told.step.status}`, told.step.status),
    element("span", "name", told.step.name),
    element("span", "took", length(told.step.duration_ms)),
  );
  const list = run(told.environment, told.id).querySelector("ol");
  list.append(line);
  list.scrollTop = list.scrollHeight;
}

function deployment(event) {
  last = event.lastEventId;
  const row = JSON.parse(event.data).deployment;
  const list = run(row.environment, row.id);
  const shown = list.querySelector(".state");
  shown.className = `state ${row.state}`;
  shown.textContent = row.state.replace("_", " ");
  // Long enough to be read.
  if (row.outcome) setTimeout(() => leave(list), 15000);
  soon();
}

/** One that has ended does not happen now. */
function leave(list) {
  list.remove();
  live.hidden = runs.children.length === 0;
}

function soon() {
  // Soon, and again when the server's look at everything, which lasts a second, is a newer one.
  waiting.forEach(clearTimeout);
  waiting = [300, 1600].map((pause) => setTimeout(renew, pause));
}

async function renew() {
  const answer = await fetch(location.href, { headers: { accept: "text/html" } });
  if (!answer.ok) return;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const part of ["main", ".fresh time"]) {
    const [old, fresh] = [document.querySelector(part), page.querySelector(part)];
    if (old && fresh && !old.contains(document.activeElement)) old.replaceWith(fresh);
  }
}

function listen() {
  if (last === undefined) return;
  const here = location.pathname.match(/^\/_deploy\/view\/([^/]+)/);
  const query = new URLSearchParams({ after: last });
  if (here) query.set("environment", decodeURIComponent(here[1]));
  const source = new EventSource(`/_deploy/events?${query}`);
  const state = (name, words) => () => {
    link.dataset.state = name;
    link.title = words;
    link.setAttribute("aria-label", words);
  };
  source.addEventListener("open", state("live", "live"));
  // The page may show how things were a moment before it listened.
  source.addEventListener("open", soon);
  source.addEventListener("error", state("lost", "not connected"));
  // A browser comes back by itself, unless the answer was a refusal: the server may be starting.
  source.addEventListener("error", () => {
    if (source.readyState === EventSource.CLOSED) setTimeout(listen, 3000);
  });
  source.addEventListener("step", step);
  source.addEventListener("deployment", deployment);
}

listen();
setInterval(tick, 10000);
setInterval(renew, 60000);
