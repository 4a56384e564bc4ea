/**
 * Tells screen readers how the board stands, now and then: never each change.
 * @module
 */
import { formatInteger } from "../scoreboard.js";

const PAUSE_MILLISECONDS = 15_000;

/** A polite summary. */
export class Announcer {
  #element;
  #latest = null;
  #timer = 0;
  #said = -Infinity;

  /** @param {HTMLElement} element with aria-live="polite" */
  constructor(element) {
    this.#element = element;
  }

  /**
   * Remembers how things stand; says so when the last time is long enough ago.
   * @param {{leader?: import("../scoreboard/deltas.js").Entry, total: number|bigint, own?: {rank: number|null, score: number|bigint|null}|null}} standing
   */
  update(standing) {
    this.#latest = standing;
    const rest = Math.max(1_000, this.#said + PAUSE_MILLISECONDS - performance.now());
    this.#timer ||= setTimeout(() => this.#say(), rest);
  }

  #say() {
    this.#timer = 0;
    this.#said = performance.now();
    const text = sentence(this.#latest);
    if (this.#element.textContent !== text) this.#element.textContent = text;
  }
}

function sentence({ leader, total, own }) {
  if (!leader) return "The board is empty.";
  const parts = [`${leader.username} leads with ${formatInteger(leader.score)} points.`];
  if (own?.rank) parts.push(`You are number ${formatInteger(own.rank)} with ${formatInteger(own.score)} points.`);
  parts.push(`${players(total)}.`);
  return parts.join(" ");
}

/**
 * @param {number|bigint} total
 * @returns {string}
 */
export function players(total) {
  return total == 1 ? "1 player" : `${formatInteger(total)} players`; // eslint-disable-line eqeqeq -- 1n too
}
