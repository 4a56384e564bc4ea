/**
 * Tables that become cards on a phone, and lists of any length, a page at a time.
 * @module
 */
import { el } from "./dom.js";
import { problem } from "./problem.js";

/**
 * @typedef {object} Column
 * @property {string} head
 * @property {(row: any) => any} cell what `el` takes as a child
 * @property {string} [kind] `number`, `wide` or `acts`
 */

/**
 * A table; the roles are said, since a phone lays it out otherwise.
 * @param {string} caption for screen readers
 * @param {Column[]} columns
 * @param {any[]} rows
 * @returns {HTMLElement}
 */
export function table(caption, columns, rows) {
  const body = el("tbody", { role: "rowgroup" }, rows.map((row) => rowOf(columns, row)));
  return el("table", { role: "table" },
    el("caption.unseen", {}, caption),
    el("thead", { role: "rowgroup" }, el("tr", { role: "row" }, columns.map(({ head, kind }) =>
      el("th", { role: "columnheader", scope: "col", class: kind }, head || el("span.unseen", {}, "What can be done"))))),
    body);
}

function rowOf(columns, row) {
  return el("tr", { role: "row" }, columns.map(({ head, cell, kind }) =>
    el("td", { role: "cell", class: kind, "data-head": head }, cell(row))));
}

/** A list that is read a page at a time. */
export class List {
  element = el("div.list", { "aria-busy": "true" });
  #caption;
  #columns;
  #empty;
  #read;
  #onPage;
  #body = null;
  #more = null;
  #turn = 0;

  /**
   * @param {object} options
   * @param {string} options.caption
   * @param {Column[]} options.columns
   * @param {string|Node} options.empty what is said when there is nothing
   * @param {(cursor: string|null) => Promise<{rows: any[], next: string|null}>} options.read a page
   * @param {(rows: any[]) => void} [options.onPage] told of each page that was shown
   */
  constructor({ caption, columns, empty, read, onPage = () => {} }) {
    this.#caption = caption;
    this.#columns = columns;
    this.#empty = empty;
    this.#read = read;
    this.#onPage = onPage;
    this.load();
  }

  /** Reads it anew, from the beginning; what is shown stays until then. */
  async load() {
    const turn = this.#turn += 1;
    this.element.setAttribute("aria-busy", "true");
    if (!this.element.firstChild) this.element.append(el("p.state.loading", {}, "One moment…"));
    try {
      const { rows, next } = await this.#read(null);
      if (turn !== this.#turn) return; // asked anew meanwhile
      this.#show(rows, next);
    } catch (error) {
      if (turn === this.#turn) this.element.replaceChildren(problem(error, () => this.load()));
    } finally {
      if (turn === this.#turn) this.element.setAttribute("aria-busy", "false");
    }
  }

  #show(rows, next) {
    if (!rows.length) {
      this.element.replaceChildren(el("p.state", {}, this.#empty));
    } else {
      const whole = table(this.#caption, this.#columns, rows);
      this.#body = whole.querySelector("tbody");
      this.element.replaceChildren(whole);
      this.#offer(next);
    }
    this.#onPage(rows);
  }

  #offer(next) {
    this.#more?.remove();
    this.#more = null;
    if (!next) return;
    const button = el("button.quiet", { type: "button", click: () => this.#continue(next) }, "Show more");
    this.#more = el("div.more", {}, button);
    this.element.append(this.#more);
  }

  async #continue(cursor) {
    const turn = this.#turn;
    this.#more.firstChild.disabled = true;
    try {
      const { rows, next } = await this.#read(cursor);
      if (turn !== this.#turn) return;
      const first = rows.map((row) => rowOf(this.#columns, row));
      this.#body.append(...first);
      this.#offer(next);
      this.#onPage(rows);
      first[0]?.querySelector("a, button, input")?.focus();
    } catch (error) {
      if (turn === this.#turn) this.#more.replaceChildren(problem(error, () => { this.#offer(cursor); this.#continue(cursor); }));
    }
  }
}
