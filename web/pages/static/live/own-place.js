/**
 * A person's own place, pinned below the list while their row is out of sight.
 * @module
 */
import { formatInteger } from "../scoreboard.js";

/** The pinned line. */
export class OwnPlace {
  #element;
  #row = null;
  #rowSeen = false;
  #standing = null;
  #observer = new IntersectionObserver((changes) => {
    this.#rowSeen = changes.at(-1).isIntersecting;
    this.#draw();
  }, { threshold: 0.6 });

  /** @param {HTMLButtonElement} element with parts .place, .name, .score */
  constructor(element) {
    this.#element = element;
    element.addEventListener("click", () => {
      const behavior = window.matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth";
      this.#row?.scrollIntoView({ block: "center", behavior });
    });
  }

  /**
   * @param {{username: string, rank: number|null, score: number|bigint|null}|null} standing null: nobody plays here
   * @param {HTMLTableRowElement|undefined} row their row, if it is in the list
   */
  show(standing, row) {
    this.#standing = standing;
    if (row !== this.#row) {
      this.#observer.disconnect();
      this.#rowSeen = false;
      this.#row = row;
      if (row) this.#observer.observe(row);
    }
    this.#draw();
  }

  #draw() {
    const { rank, score, username } = this.#standing ?? {};
    const hidden = !rank || this.#rowSeen;
    this.#element.hidden = hidden;
    if (hidden) return;
    this.#element.disabled = !this.#row;
    this.#element.querySelector(".place").textContent = formatInteger(rank);
    this.#element.querySelector(".name").textContent = username;
    this.#element.querySelector(".number").textContent = formatInteger(score);
  }
}
