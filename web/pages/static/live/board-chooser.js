/**
 * Chooses among the boards; the address keeps the choice, so that it can be shared.
 * @module
 */

/** @typedef {{board: string, title: string, actions: object[]}} Board */

/** The boards as links. */
export class BoardChooser {
  /** @type {Board} */
  chosen;
  #boards;
  #onChoice;
  #links = new Map();

  /**
   * @param {HTMLElement} nav
   * @param {Board[]} boards at least one
   * @param {(board: Board) => void} onChoice
   */
  constructor(nav, boards, onChoice) {
    this.#boards = boards;
    this.#onChoice = onChoice;
    this.chosen = this.#addressed();
    for (const board of boards) nav.append(this.#link(board));
    nav.hidden = boards.length < 2;
    window.addEventListener("popstate", () => this.#choose(this.#addressed()));
    this.#mark();
  }

  #addressed() {
    const wanted = new URLSearchParams(location.search).get("board");
    return this.#boards.find(({ board }) => board === wanted) ?? this.#boards[0];
  }

  #link(board) {
    const link = document.createElement("a");
    link.href = `?board=${encodeURIComponent(board.board)}`;
    link.textContent = board.title;
    link.addEventListener("click", (event) => {
      if (event.metaKey || event.ctrlKey || event.shiftKey) return;
      event.preventDefault();
      history.pushState(null, "", link.href);
      this.#choose(board);
    });
    this.#links.set(board.board, link);
    return link;
  }

  #choose(board) {
    if (board === this.chosen) return;
    this.chosen = board;
    this.#mark();
    this.#onChoice(board);
  }

  #mark() {
    for (const [name, link] of this.#links) {
      if (name === this.chosen.board) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
  }
}
