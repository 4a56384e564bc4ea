/**
 * The table's rows, one a player, kept while the player stays and moved when the rank changes.
 * @module
 */
import { formatInteger } from "../scoreboard.js";
import { appear, glide, glow, mayMove, seenAt } from "./motion.js";

/** @typedef {import("../scoreboard/deltas.js").Entry} Entry */

const NOTE_MILLISECONDS = 2_600;
/** Digits beyond which a score is set smaller, so that names keep their room on a phone. */
const LONG_SCORE = 15;
/** Where everything lights up, nothing stands out. */
const GLOWS_MOST = 6;
const HUES = 12;
const MEDALS = ["gold", "silver", "bronze"];

/** Draws lists of entries into a table body. */
export class Rows {
  #body;
  #rows = new Map();
  #list = [];
  #ownId = null;
  #glowsLeft = 0;

  /** @param {HTMLTableSectionElement} body */
  constructor(body) {
    this.#body = body;
  }

  /**
   * The row of a player, if it is in the list.
   * @param {string|null} userId
   * @returns {HTMLTableRowElement|undefined}
   */
  rowOf(userId) {
    return this.#rows.get(userId)?.element;
  }

  /**
   * Shows a list; rows that are seen glide from where they were.
   * @param {readonly Entry[]} entries
   * @param {{ownId?: string|null, touched?: Set<string>, quiet?: boolean}} [how]
   *   touched: players who moved past others since the last time; quiet: another list, so nothing has moved
   */
  show(entries, { ownId = null, touched = new Set(), quiet = false } = {}) {
    const before = this.#measure();
    const places = new Map(this.#list.map((entry, place) => [entry.user_id, place]));
    const scores = new Map(this.#list.map((entry) => [entry.user_id, entry.score]));
    this.#ownId = ownId;
    this.#arrange(entries, touched);
    this.#list = entries;
    if (quiet || places.size === 0) return;
    this.#glowsLeft = GLOWS_MOST;
    const { first, last } = before.window;
    for (let place = Math.max(0, first); place < Math.min(entries.length, last); place += 1) {
      this.#tell(entries[place], place, { before, was: places.get(entries[place].user_id), scores });
    }
  }

  /** One read of the layout, before anything is changed. */
  #measure() {
    const height = this.#body.rows[0]?.offsetHeight ?? 0;
    const top = this.#body.getBoundingClientRect().top;
    const screen = window.innerHeight;
    const first = height ? Math.floor(-top / height) - 1 : 0;
    const last = height ? first + Math.ceil(screen / height) + 3 : 0;
    const seen = new Map();
    for (let place = Math.max(0, first); place < Math.min(this.#list.length, last); place += 1) {
      const { user_id: id } = this.#list[place];
      seen.set(id, seenAt(this.rowOf(id), top, place * height));
    }
    return { height, screen, window: { first, last }, seen };
  }

  /** Takes out who left or moved past others, then puts each where it belongs; the many others are not touched. */
  #arrange(entries, touched) {
    const staying = new Set(entries.map((entry) => entry.user_id));
    const was = gapsOf(this.#list.filter((entry) => staying.has(entry.user_id)), touched);
    const is = gapsOf(entries, touched);
    for (const [id, row] of this.#rows) {
      if (!staying.has(id)) { row.element.remove(); this.#rows.delete(id); }
      else if (was.get(id) !== is.get(id)) row.element.remove();
    }
    let cursor = this.#body.firstElementChild;
    entries.forEach((entry) => {
      const row = this.#rows.get(entry.user_id) ?? this.#make(entry);
      if (row.element === cursor) cursor = cursor.nextElementSibling;
      else this.#body.insertBefore(row.element, cursor);
      fill(row, entry, entry.user_id === this.#ownId);
    });
  }

  #make(entry) {
    const row = makeRow(entry);
    this.#rows.set(entry.user_id, row);
    return row;
  }

  /** Shows what happened to an entry that is seen. */
  #tell(entry, place, { before, was, scores }) {
    const row = this.#rows.get(entry.user_id);
    const { height, screen, seen, window: { first, last } } = before;
    if (was !== undefined && was !== place) note(row.move, arrow(was - place), was > place ? "up" : "down");
    if (was !== undefined && scores.get(entry.user_id) !== entry.score) {
      note(row.gain, formatInteger(BigInt(entry.score) - BigInt(scores.get(entry.user_id)), { signed: true }), "gain");
      if (mayMove() && this.#glowsLeft-- > 0) glow(row.element);
    }
    if (!mayMove() || height === 0) return;
    if (was === undefined) { appear(row.element); return; }
    // From out of sight a row comes in from just beyond the edge, however far away it was.
    const from = seen.get(entry.user_id) ?? Math.min(Math.max(was, first - 2), last + 2) * height;
    const distance = from - place * height;
    row.element.classList.toggle("rising", distance > 0);
    glide(row.element, Math.max(-screen, Math.min(screen, distance)));
  }
}

/** For each touched player, how many of the untouched stand higher: who changed in place has the same number again. */
function gapsOf(list, touched) {
  const gaps = new Map();
  let untouched = 0;
  for (const { user_id: id } of list) {
    if (touched.has(id)) gaps.set(id, untouched); else untouched += 1;
  }
  return gaps;
}

function makeRow(entry) {
  const element = document.createElement("tr");
  element.role = "row";
  const rank = cell("td", "rank");
  rank.role = "cell";
  const place = part(rank, "span", "place");
  const move = part(rank, "span", "move");
  move.ariaHidden = "true";
  const player = cell("th", "player");
  player.scope = "row";
  player.role = "rowheader";
  const inner = part(player, "span", "inner");
  const disc = part(inner, "span", "disc");
  disc.ariaHidden = "true";
  disc.textContent = [...entry.username][0].toUpperCase();
  disc.dataset.hue = String(parseInt(entry.user_id.slice(0, 8), 16) % HUES);
  const name = part(inner, "span", "name");
  const tag = part(inner, "span", "tag");
  tag.textContent = "you";
  const score = cell("td", "score");
  score.role = "cell";
  const gain = part(score, "span", "gain");
  gain.ariaHidden = "true";
  const number = part(score, "span", "number");
  element.append(rank, player, score);
  return { element, place, move, name, tag, gain, number, shown: null, own: null };
}

/** Writes only what has changed: most rows of a delta only have another rank. */
function fill(row, entry, own) {
  const { shown } = row;
  if (shown === entry && row.own === own) return;
  if (shown?.rank !== entry.rank) {
    row.place.textContent = formatInteger(entry.rank);
    row.element.dataset.medal = MEDALS[entry.rank - 1] ?? "";
  }
  if (shown?.username !== entry.username) {
    row.name.textContent = entry.username;
    row.name.title = entry.username;
  }
  if (shown?.score !== entry.score) {
    const text = formatInteger(entry.score);
    row.number.textContent = text;
    row.number.classList.toggle("long", text.length > LONG_SCORE);
  }
  row.element.classList.toggle("own", own);
  row.tag.hidden = !own;
  Object.assign(row, { shown: entry, own });
}

function arrow(places) {
  return `${places > 0 ? "▲" : "▼"}${formatInteger(Math.abs(places))}`;
}

/** A few characters that go away by themselves. */
function note(element, text, kind) {
  clearTimeout(Number(element.dataset.timer));
  element.textContent = text;
  element.dataset.kind = kind;
  element.dataset.timer = String(setTimeout(() => { element.textContent = ""; }, NOTE_MILLISECONDS));
}

function cell(tag, name) {
  const element = document.createElement(tag);
  element.className = name;
  return element;
}

function part(parent, tag, name) {
  const element = cell(tag, name);
  parent.append(element);
  return element;
}
