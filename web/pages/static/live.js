/**
 * The live board's page: finds the service, follows the chosen board, and shows what comes.
 * @module
 */
import { Scoreboard, ScoreboardError, formatInteger } from "./scoreboard.js";
import { pauseFor, sleep } from "./scoreboard/backoff.js";
import { Announcer, players } from "./live/announcer.js";
import { BoardChooser } from "./live/board-chooser.js";
import { Connection } from "./live/connection.js";
import { OwnPlace } from "./live/own-place.js";
import { paced } from "./live/pace.js";
import { Play, kept } from "./live/play.js";
import { Rows } from "./live/rows.js";

/** How many places are shown, and how many "show more" leads to. */
const TOPS = [100, 300, 1000];

const byId = (id) => document.getElementById(id);

/** The page. */
class LivePage {
  #scoreboard;
  #board = null;
  #rows = new Rows(byId("rows"));
  #connection = new Connection(byId("connection"));
  #announcer = new Announcer(byId("announcement"));
  #ownPlace = new OwnPlace(byId("own"));
  #play = null;
  #chooser;
  #you = null;
  #touched = new Set();
  #quiet = true;
  #redraw = paced(() => this.#draw());

  constructor(scoreboard, boards) {
    this.#scoreboard = scoreboard;
    const card = byId("play");
    if (card) this.#play = new Play(card, scoreboard, () => this.#playerChanged());
    this.#chooser = new BoardChooser(byId("boards"), boards, (board) => this.#follow(board));
    byId("more").addEventListener("click", () => this.#showMore());
    this.#follow(this.#chooser.chosen);
  }

  #follow(board) {
    this.#board?.close();
    this.#you = null;
    this.#quiet = true;
    this.#touched.clear();
    byId("title").textContent = board.title;
    document.title = `${board.title} · Scoreboard`;
    byId("board").setAttribute("aria-busy", "true");
    this.#play?.playFor(board);
    this.#board = this.#scoreboard.board(board.board, {
      top: TOPS[0],
      onChange: (change) => this.#changed(change),
      onState: (state) => this.#connection.show(state),
      onYou: (you) => this.#sawYou(you),
      onApplied: (outcome) => this.#play?.sawApplied(outcome),
      onError: (error) => console.info("scoreboard:", error.code, error.detail ?? ""),
    });
  }

  #changed({ kind, entries, touched }) {
    if (kind === "delta") touched.forEach((id) => this.#touched.add(id));
    const ownId = this.#scoreboard.player?.user_id;
    const mine = ownId !== undefined && touched.has(ownId);
    if (mine) this.#play?.sawScore(entries.find((entry) => entry.user_id === ownId)?.score ?? null);
    this.#redraw(mine);
  }

  #sawYou(you) {
    this.#you = you;
    this.#play?.sawScore(you.score);
    this.#redraw();
  }

  #playerChanged() {
    const { player } = this.#scoreboard;
    this.#you = null;
    this.#board.setToken(player ? (how) => this.#scoreboard.token(how) : null);
    this.#redraw(true);
  }

  #draw() {
    const { entries, total, version } = this.#board;
    if (version === null) return;
    const ownId = this.#scoreboard.player?.user_id ?? null;
    this.#rows.show(entries, { ownId, touched: this.#touched, quiet: this.#quiet });
    this.#touched.clear();
    this.#quiet = false;
    byId("board").setAttribute("aria-busy", "false");
    byId("loading").hidden = true;
    byId("empty").hidden = entries.length > 0;
    byId("list").hidden = entries.length === 0;
    byId("total").textContent = entries.length ? players(total) : "";
    this.#drawMore(entries.length, total);
    const own = this.#standing(ownId, entries);
    this.#ownPlace.show(own, this.#rows.rowOf(ownId));
    this.#announcer.update({ leader: entries[0], total, own });
  }

  /** The list is newer than the personal half, so it is believed first. */
  #standing(ownId, entries) {
    if (ownId === null) return null;
    const { username } = this.#scoreboard.player;
    const { rank, score } = entries.find((entry) => entry.user_id === ownId) ?? this.#you ?? { rank: null, score: null };
    return { username, rank, score };
  }

  #drawMore(shown, total) {
    const next = TOPS[TOPS.indexOf(this.#board.top) + 1];
    byId("more").hidden = !next || shown >= total;
    if (next) byId("more").textContent = `Show the first ${formatInteger(next)}`;
    byId("rest").hidden = Boolean(next) || shown >= total;
    byId("rest").textContent = `The first ${formatInteger(shown)} of ${players(total)}.`;
  }

  #showMore() {
    const next = TOPS[TOPS.indexOf(this.#board.top) + 1];
    if (next) this.#board.setTop(next);
  }
}

/** Asks until the service answers; meanwhile the page says so. */
async function reach() {
  const connection = new Connection(byId("connection"));
  for (let attempt = 0; ; attempt += 1) {
    try {
      const scoreboard = await Scoreboard.connect(location.origin, { player: kept.load(), onPlayer: kept.save });
      const boards = await scoreboard.boards();
      byId("unreachable").hidden = true;
      return { scoreboard, boards };
    } catch (error) {
      if (!(error instanceof ScoreboardError)) throw error;
      connection.show({ name: "waiting" });
      byId("loading").hidden = true;
      byId("unreachable").hidden = false;
      await sleep(pauseFor(attempt, { most: 10_000 }));
    }
  }
}

const { scoreboard, boards } = await reach();
new LivePage(scoreboard, boards); // eslint-disable-line no-new -- it lives as long as the page
