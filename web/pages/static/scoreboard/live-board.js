/**
 * A board that stays true: a snapshot, then deltas, over a socket that is opened again whenever it ends.
 * @module
 */
import { pauseFor } from "./backoff.js";
import { applyDelta } from "./deltas.js";
import { parseExact } from "./exact.js";

/** @typedef {import("./deltas.js").Entry} Entry */
/** @typedef {import("./exact.js").Integer} Integer */
/**
 * @typedef {object} Change
 * @property {"snapshot"|"delta"} kind
 * @property {Entry[]} entries the whole list as it is now
 * @property {Integer} version
 * @property {Integer} total players on the board
 * @property {Set<string>} touched players who are new, changed or moved past another (of a snapshot: all)
 */
/**
 * @typedef {object} State
 * @property {"connecting"|"live"|"waiting"|"closed"|"failed"} name
 *   waiting: for the next attempt; failed: it would be of no use
 * @property {number} [retryIn] milliseconds until the next attempt
 * @property {number} [code] why the last socket was closed
 * @property {string} [reason]
 */
/**
 * @typedef {object} LiveBoardOptions
 * @property {number} [top] how many entries, 1–1000
 * @property {string|((how: {renew: boolean}) => Promise<string>)|null} [token] for the personal half
 * @property {(change: Change) => void} [onChange]
 * @property {(state: State) => void} [onState]
 * @property {(you: {score: Integer|null, rank: number|null}) => void} [onYou]
 * @property {(applied: import("../scoreboard.js").Outcome) => void} [onApplied]
 * @property {(error: {code: string, detail?: string}) => void} [onError]
 */

const SUBPROTOCOL = "scoreboard.v1";
const CLOSE = { NORMAL: 1000, TRY_LATER: 1013, BAD_MESSAGE: 4400, TOKEN: 4401, NO_BOARD: 4404, TOO_MANY: 4429 };
/** After these, come back later than usual. */
const UNWELCOME = new Set([CLOSE.TRY_LATER, CLOSE.TOO_MANY, CLOSE.BAD_MESSAGE]);
const UNWELCOME_MILLISECONDS = 3_000;
/** A socket that lived this long had a working server: the next attempts begin anew. */
const STEADY_MILLISECONDS = 5_000;
const OPENING_MILLISECONDS = 10_000;
const HEARTBEAT = { every: 5_000, idle: 20_000, answer: 10_000 };

/** The live top of one board. */
export class LiveBoard {
  /** @type {Entry[]} */
  entries = [];
  /** @type {Integer} */
  total = 0;
  /** @type {Integer|null} null before the first snapshot */
  version = null;
  /** @type {State} */
  state = { name: "connecting" };

  #url;
  #options;
  #top;
  /** the `top` our list was made for; 0: not to be resumed */
  #listTop = 0;
  #socket = null;
  #attempt = 0;
  #openedAt = 0;
  #heardAt = 0;
  #pingedAt = 0;
  #settled = false;
  #resuming = false;
  #tokenRefusals = 0;
  #timer = 0;
  #heartbeat = 0;
  #wake = () => this.#hurry();

  /**
   * @param {string} socketsUrl `sockets_url` of GET /api/v1
   * @param {string} name the board's
   * @param {LiveBoardOptions} [options]
   */
  constructor(socketsUrl, name, options = {}) {
    this.name = name;
    this.#url = `${socketsUrl}/ws/v1/leaderboards/${encodeURIComponent(name)}`;
    this.#options = { token: null, ...options };
    this.#top = options.top ?? 100;
    globalThis.addEventListener?.("online", this.#wake);
    globalThis.document?.addEventListener("visibilitychange", this.#wake);
    this.#heartbeat = setInterval(() => this.#beat(), HEARTBEAT.every);
    this.#open();
  }

  /** How many entries are asked for. */
  get top() {
    return this.#top;
  }

  /**
   * Asks for another number of entries; the present list stays until the new one is there.
   * @param {number} top 1–1000
   */
  setTop(top) {
    if (top === this.#top) return;
    this.#top = top;
    this.#startOver();
  }

  /**
   * Asks for another player's personal half, or for none.
   * @param {LiveBoardOptions["token"]} token
   */
  setToken(token) {
    this.#options.token = token;
    this.#tokenRefusals = 0;
    if (this.#socket?.readyState === WebSocket.OPEN) this.#subscribe();
    else this.#hurry();
  }

  /** Ends it: nothing is called any more. */
  close() {
    if (this.state.name === "closed") return;
    clearTimeout(this.#timer);
    clearInterval(this.#heartbeat);
    globalThis.removeEventListener?.("online", this.#wake);
    globalThis.document?.removeEventListener("visibilitychange", this.#wake);
    this.#drop(CLOSE.NORMAL);
    this.#enter({ name: "closed" });
  }

  #open() {
    clearTimeout(this.#timer);
    this.#enter({ name: "connecting" });
    const socket = new WebSocket(this.#url, SUBPROTOCOL);
    this.#socket = socket;
    this.#settled = false;
    this.#openedAt = this.#heardAt = performance.now();
    this.#pingedAt = 0;
    socket.onopen = () => { this.#subscribe(); };
    socket.onmessage = (event) => { if (socket === this.#socket) this.#hear(event.data); };
    socket.onclose = (event) => { if (socket === this.#socket) this.#ended(event.code, event.reason); };
  }

  /** Says what we want; with `resume` only where our list is the top we ask for. */
  async #subscribe() {
    const socket = this.#socket;
    const message = { type: "subscribe", top: this.#top };
    this.#settled = false;
    try {
      const token = await this.#token();
      if (token) message.token = token;
    } catch (error) {
      this.#options.onError?.({ code: error.code ?? "token_invalid", detail: error.message });
    }
    if (socket !== this.#socket || socket.readyState !== WebSocket.OPEN) return;
    this.#resuming = this.version !== null && message.top === this.#listTop;
    const text = JSON.stringify(message);
    const resume = this.#resuming ? `,"resume":{"version":${this.version}}` : "";
    socket.send(text.slice(0, -1) + resume + "}");
  }

  /** A token that was refused once is renewed; refused twice, the board goes on without the personal half. */
  async #token() {
    const { token } = this.#options;
    if (!token || this.#tokenRefusals > 1) return null;
    if (typeof token === "string") return this.#tokenRefusals ? null : token;
    return token({ renew: this.#tokenRefusals > 0 });
  }

  /** Our list does not fit what comes: ask for all of it. */
  #startOver() {
    this.#listTop = 0;
    this.#settled = false;
    if (this.#socket?.readyState === WebSocket.OPEN) this.#subscribe();
  }

  #hear(data) {
    this.#heardAt = performance.now();
    const message = parseExact(data);
    switch (message.type) {
      case "snapshot": this.#takeSnapshot(message); break;
      case "delta": this.#takeDelta(message); break;
      case "you": this.#options.onYou?.({ score: message.score, rank: message.rank }); break;
      case "applied": this.#options.onApplied?.(message); break;
      case "error": this.#options.onError?.(message); break;
      default: // a pong has been heard, which is all it is for; later versions may say more
    }
  }

  #takeSnapshot({ version, total, entries }) {
    // One that is shorter than the top asked for now was sent before the asking; the next one follows.
    this.#listTop = entries.length === Math.min(this.#top, Number(total)) ? this.#top : 0;
    this.#become("snapshot", entries, version, total, new Set(entries.map((entry) => entry.user_id)));
  }

  #takeDelta(delta) {
    if (!this.#settled && !this.#resuming) return; // of the subscription before; the snapshot is on its way
    if (delta.from_version !== this.version) { this.#startOver(); return; }
    const touched = new Set(delta.upserts.map((entry) => entry.user_id));
    this.#become("delta", applyDelta(this.entries, delta), delta.version, delta.total, touched);
  }

  #become(kind, entries, version, total, touched) {
    Object.assign(this, { entries, version, total });
    this.#settled = true;
    this.#resuming = false;
    if (this.state.name !== "live") this.#enter({ name: "live" });
    this.#options.onChange?.({ kind, entries, version, total, touched });
  }

  #ended(code, reason) {
    this.#socket = null;
    if (performance.now() - this.#openedAt > STEADY_MILLISECONDS) { this.#attempt = 0; this.#tokenRefusals = 0; }
    if (code === CLOSE.TOKEN) this.#tokenRefusals += 1;
    if (code === CLOSE.NO_BOARD) { this.#enter({ name: "failed", code, reason }); return; }
    const pause = pauseFor(this.#attempt, { least: UNWELCOME.has(code) ? UNWELCOME_MILLISECONDS : 0 });
    this.#attempt += 1;
    this.#timer = setTimeout(() => this.#open(), pause);
    this.#enter({ name: "waiting", retryIn: pause, code, reason });
  }

  /** The network or the page is back: why wait longer? */
  #hurry() {
    if (globalThis.document?.visibilityState === "hidden") return;
    if (this.state.name === "waiting" && !UNWELCOME.has(this.state.code)) this.#open();
    else this.#beat();
  }

  /** A connection can die without a word; one that does not answer is given up. */
  #beat() {
    const now = performance.now();
    if (this.#socket === null) return;
    if (!this.#settled) {
      if (now - Math.max(this.#openedAt, this.#heardAt) > OPENING_MILLISECONDS) this.#giveUp();
    } else if (this.#pingedAt > this.#heardAt) {
      if (now - this.#pingedAt > HEARTBEAT.answer) this.#giveUp();
    } else if (now - this.#heardAt > HEARTBEAT.idle) {
      this.#pingedAt = now;
      this.#socket.send('{"type":"ping"}');
    }
  }

  #giveUp() {
    this.#drop();
    this.#ended(1006, "no answer");
  }

  #drop(code) {
    const socket = this.#socket;
    this.#socket = null;
    socket?.close(code);
  }

  #enter(state) {
    this.state = state;
    this.#options.onState?.(state);
  }
}
