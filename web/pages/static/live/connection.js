/**
 * Says in a few words whether what is seen is live.
 * @module
 */

const WORDS = {
  connecting: () => "Connecting…",
  live: () => "Live",
  waiting: ({ code }) => (navigator.onLine === false ? "Offline" : code === 4429 ? "Busy, trying again…" : "Reconnecting…"),
  failed: () => "No such board",
  closed: () => "Paused",
};

/** How long a reconnection may take before anybody needs to hear of it. */
const PATIENCE_MILLISECONDS = 700;

/** The connection's state in the header. */
export class Connection {
  #element;
  #words;
  #timer = 0;

  /** @param {HTMLElement} element */
  constructor(element) {
    this.#element = element;
    this.#words = element.querySelector(".words");
  }

  /** @param {import("../scoreboard/live-board.js").State} state */
  show(state) {
    clearTimeout(this.#timer);
    const again = state.name === "connecting" || state.name === "waiting";
    if (again && this.#element.dataset.state === "waiting") return; // says so already
    if (again && this.#element.dataset.state === "live") {
      const retrying = { ...state, name: "waiting" };
      this.#timer = setTimeout(() => this.#write(retrying), PATIENCE_MILLISECONDS);
    } else {
      this.#write(state);
    }
  }

  #write(state) {
    this.#element.dataset.state = state.name;
    const words = WORDS[state.name](state);
    if (this.#words.textContent !== words) this.#words.textContent = words;
  }
}
