/**
 * The pipeline at a glance: what comes in, what waits, how long it takes, and whether every part is well.
 * @module
 */
import { chip } from "./common.js";
import { el } from "./dom.js";
import { clock, integer, perSecond, span } from "./format.js";
import { told } from "./problem.js";
import { Sparkline } from "./sparkline.js";

/** A line begins with room for so many looks, and then gathers all that are kept. */
const ROOM_LEAST = 40;
const PARTS = {
  database: ["PostgreSQL", "Nothing can be accepted. Look at its log and its disk."],
  schema: ["Schema", "Run python -m migrations upgrade."],
  redis: ["Redis", "Boards cannot be read; updates are still accepted and applied."],
  broker: ["Broker", "Workers look for updates themselves: after some seconds all is applied as ever."],
  worker: ["Worker", "Updates wait. Look at worker and beat."],
  inbox: ["Inbox", "Updates are refused as overloaded until it is shorter."],
};
const known = (value, words) => (value === null || value === undefined ? "–" : words(value));
/** What a tile shows of a look: words and unit, what stands beneath, and the value of its line. */
const TILES = [
  { name: "Accepted", of: ({ accepted, pipeline }) => [known(accepted, perSecond), "/s", known(pipeline?.accepted, (all) => `${integer(all)} ever`), accepted] },
  { name: "Settled", of: ({ settled }) => [known(settled, perSecond), "/s", "applied, held back or parked", settled] },
  { name: "Waiting", of: ({ pipeline }) => [known(pipeline?.depth, integer), "", known(pipeline?.depth_limit, (most) => `refused from ${integer(most)} on`), pipeline?.depth] },
  { name: "Oldest waits", of: ({ pipeline }) => [known(pipeline?.oldest_age_seconds, (age) => age ? span(age) : "0 s"), "", known(pipeline?.age_limit_seconds, (most) => `refused from ${span(most)} on`), pipeline?.oldest_age_seconds] },
  { name: "Until applied", of: ({ pipeline }) => [known(pipeline?.latency, ({ median_seconds: half }) => span(half)), "", known(pipeline?.latency, ({ p99_seconds: most }) => `half of them; 99 of 100 in ${span(most)}`), pipeline?.latency?.median_seconds] },
  { name: "Sockets", of: ({ sockets }) => [known(sockets?.open, integer), "", known(sockets?.processes, (count) => `in ${integer(count)} ${count === 1 ? "process" : "processes"}`), sockets?.open] },
];
/** What waits for people. */
const NEEDS = [
  ["open_incidents", "Incidents", "open", "#/incidents", true],
  ["held_updates", "Quarantine", "updates held back", "#/quarantine", true],
  ["dead_letters", "Dead letters", "waiting", "#/letters", true],
  ["restrictions", "Restrictions", "in force", "#/restrictions", false],
];

/** @param {import("./common.js").Room} room @returns {import("./common.js").Shown} */
export function glance({ watcher }) {
  const state = el("div.summary", {});
  const tiles = TILES.map(({ name, of }) => new Tile(name, of));
  const needs = NEEDS.map(([member, title, words, href, grave]) => new Need(member, title, words, href, grave));
  const parts = el("ul.parts", {});
  const shards = el("div.shards", {});
  const draw = () => {
    const look = watcher.looks.at(-1);
    state.replaceChildren(...summary(look, watcher.error));
    if (!look) return;
    tiles.forEach((tile) => tile.draw(watcher.looks));
    needs.forEach((need) => need.draw(look.pipeline));
    parts.replaceChildren(...Object.entries(look.parts).map(([name, part]) => partOf(name, part)));
    shards.replaceChildren(...shardsOf(look.pipeline));
  };
  const leave = watcher.listen(draw);
  watcher.close = true;
  draw();
  return {
    title: "Pipeline",
    content: [
      state,
      el("div.tiles", {}, tiles.map(({ element }) => element)),
      el("div.needs", {}, needs.map(({ element }) => element)),
      el("div.halves", {},
        el("section.card", { "aria-labelledby": "parts-title" }, el("h2", { id: "parts-title" }, "Parts"), parts),
        el("section.card", { "aria-labelledby": "shards-title" }, el("h2", { id: "shards-title" }, "Inbox by shard"), shards)),
      el("p.note", {}, "Looked at every two seconds. All of it is true of every process together, whichever answers: counts are PostgreSQL’s, rates are between two of them, "
        + "latency is that of rows written in the last ten seconds, sockets are what each socket process says in Redis. Distributions, and what a single process does, are in Prometheus."),
    ],
    leave: () => { leave(); watcher.close = false; },
  };
}

function summary(look, error) {
  if (error) return [el("div.problem", {}, told(error), look && el("p.advice", {}, `What is shown is of ${clock(new Date(look.at).toISOString())}.`))];
  if (!look) return [el("p.state.loading", {}, "One moment…")];
  const failing = Object.entries(look.parts).filter(([, { status }]) => status !== "ok").map(([name]) => PARTS[name]?.[0] ?? name);
  const words = failing.length ? chip(`Not well: ${failing.join(", ")}`, "bad") : chip("All parts are well", "good");
  return [words, el("span.asof", {}, `as of ${clock(look.pipeline?.at ?? new Date(look.at).toISOString())}`)];
}

class Tile {
  #value = el("span.value", {}, "–");
  #unit = el("span.unit", {});
  #beneath = el("p.beneath", {}, "\u00a0");
  #line = new Sparkline();
  #of;

  constructor(name, of) {
    this.#of = of;
    this.element = el("section.card.tile", { "aria-label": name }, el("h2", {}, name),
      el("p.figure", {}, this.#value, this.#unit), this.#line.element, this.#beneath);
  }

  draw(looks) {
    const [value, unit, beneath] = this.#of(looks.at(-1));
    this.#value.textContent = value;
    this.#unit.textContent = value === "–" ? "" : unit;
    this.#beneath.textContent = beneath === "–" ? "nothing just now" : beneath;
    this.#line.draw(looks.map((look) => { const [, , , each] = this.#of(look); return each === null || each === undefined ? null : Number(each); }), Math.max(ROOM_LEAST, looks.length));
  }
}

class Need {
  #member;
  #grave;
  #count = el("span.value", {}, "–");

  constructor(member, title, words, href, grave) {
    this.#member = member;
    this.#grave = grave;
    this.element = el("a.card.need", { href }, el("span.what", {}, title), this.#count, el("span.beneath", {}, words));
  }

  draw(pipeline) {
    const count = pipeline?.[this.#member];
    this.#count.textContent = known(count, integer);
    this.element.classList.toggle("calls", this.#grave && Number(count) > 0);
  }
}

function partOf(name, { status, detail }) {
  const [title, advice] = PARTS[name] ?? [name, ""];
  const well = status === "ok";
  return el("li", { "data-state": well ? "good" : "bad" }, el("span.dot", { "aria-hidden": "true" }),
    el("span.what", {}, title), el("span.how", {}, well ? "well" : "failing"),
    !well && el("p.advice", {}, detail ? `${detail}. ${advice}` : advice));
}

function shardsOf(pipeline) {
  if (!pipeline) return [el("p.state", {}, "PostgreSQL does not say.")];
  if (!pipeline.shards.length) return [el("p.state", {}, "Nothing waits in any shard.")];
  const most = Math.max(...pipeline.shards.map(({ depth }) => depth));
  return [el("ul.bars", {}, pipeline.shards.map(({ shard, depth, oldest_age_seconds: age }) => {
    const bar = el("span.bar-of", { "aria-hidden": "true" });
    bar.style.setProperty("--share", String(depth / most));
    return el("li", {}, el("span.what", {}, `Shard ${shard}`), bar, el("span.how", {}, `${integer(depth)} · ${span(age)}`));
  }))];
}
