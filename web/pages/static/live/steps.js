/**
 * The way of one action through the service, step by step, as it happens.
 * @module
 */
import { formatInteger } from "../scoreboard.js";

/** @typedef {"signed"|"accepted"|"applied"|"seen"} Step */

/** One click's way; begins when it is made. */
export class Journey {
  #steps;
  #total;
  #current = true;

  /**
   * @param {HTMLOListElement} list items with data-step
   * @param {HTMLElement} total where the whole time is written
   * @param {number} startedAt by performance.now()
   */
  constructor(list, total, startedAt) {
    this.startedAt = startedAt;
    this.actionId = crypto.randomUUID();
    /** @type {import("../scoreboard.js").Outcome|null} */
    this.applied = null;
    this.#total = total;
    this.#steps = new Map([...list.children].map((item) => [item.dataset.step, item]));
    for (const item of this.#steps.values()) write(item, "waiting", item.dataset.hint);
    write(this.#steps.get("signed"), "now", this.#steps.get("signed").dataset.hint);
    total.textContent = "";
  }

  /** A newer click has the steps now. */
  leave() {
    this.#current = false;
  }

  /**
   * Milliseconds since the click.
   * @param {number} [at]
   * @returns {string}
   */
  elapsed(at = performance.now()) {
    return `${formatInteger(Math.max(1, Math.round(at - this.startedAt)))} ms`;
  }

  /**
   * A step is done; the next one is under way. Of one that was done already, more can be told.
   * @param {Step} step
   * @param {string} detail
   */
  done(step, detail) {
    if (!this.#current) return;
    if (this.isDone(step)) { write(this.#steps.get(step), "done", detail); return; }
    write(this.#steps.get(step), "done", detail);
    const next = [...this.#steps.values()].find((item) => item.dataset.state === "waiting");
    if (next) write(next, "now", next.dataset.hint);
  }

  /** @param {Step} step */
  isDone(step) {
    return this.#steps.get(step).dataset.state === "done";
  }

  /**
   * Something to know about the step under way.
   * @param {string} detail
   * @param {boolean} [failed] it ends here
   */
  note(detail, failed = false) {
    const item = [...this.#steps.values()].find(({ dataset }) => dataset.state === "now");
    if (this.#current && item) write(item, failed ? "failed" : "now", detail);
  }

  /** @param {number} at when it was seen on the board */
  finish(at) {
    if (this.#current) this.#total.textContent = `${this.elapsed(at)} from click to board`;
  }
}

function write(item, state, detail) {
  item.dataset.state = state;
  item.querySelector(".detail").textContent = detail ?? "";
}
