/**
 * Scoreboard's client for browsers: register, sign, send scores, and follow a board live. No dependencies.
 *
 *     import { Scoreboard } from "https://scores.example/static/scoreboard.js";
 *     const scoreboard = await Scoreboard.connect("https://scores.example");
 *     await scoreboard.register("ada", "ada@example.com");
 *     const outcome = await scoreboard.submit("level_complete", { value: 3, wait: 5 });
 *     const board = scoreboard.board("global", { top: 10, onChange: ({ entries }) => draw(entries) });
 *
 * @module
 */
import { pauseFor, sleep } from "./scoreboard/backoff.js";
import { stringifyExact } from "./scoreboard/exact.js";
import { request } from "./scoreboard/http.js";
import { LiveBoard } from "./scoreboard/live-board.js";
import { ScoreboardError } from "./scoreboard/problem.js";
import { randomHex, signAction, signTokenRequest } from "./scoreboard/signing.js";

export { applyDelta } from "./scoreboard/deltas.js";
export { formatInteger, parseExact } from "./scoreboard/exact.js";
export { LiveBoard } from "./scoreboard/live-board.js";
export { ScoreboardError } from "./scoreboard/problem.js";
export { signAction } from "./scoreboard/signing.js";

/** @typedef {import("./scoreboard/exact.js").Integer} Integer */
/**
 * @typedef {object} Player what a browser keeps of a player; keep the secret as you would a password
 * @property {string} user_id
 * @property {string} username
 * @property {string} secret_key hex, told once at registration
 * @property {string} access_token
 * @property {string} refresh_token
 * @property {number} expires_at when the access token ends, in Unix milliseconds
 */
/**
 * @typedef {object} Outcome
 * @property {string} action_id
 * @property {"queued"|"applied"|"rejected"} status
 * @property {{board: string, previous_score: Integer, score_increment: Integer, new_score: Integer, rank: number|null}[]} [results]
 * @property {string} [code] why it was rejected
 * @property {string} [detail]
 */

/** A new token is fetched this long before the old one ends. */
const TOKEN_MARGIN_MILLISECONDS = 30_000;
const ATTEMPTS_MOST = 8;

/** One service, and the player who uses it here. */
export class Scoreboard {
  /**
   * Asks the service where everything is.
   * @param {string} [apiUrl] the one address a front end needs; the page's own origin when left out
   * @param {{player?: Player|null, onPlayer?: (player: Player|null) => void}} [options]
   *   player: kept from an earlier visit; onPlayer: told whenever there is something new to keep
   * @returns {Promise<Scoreboard>}
   * @throws {ScoreboardError} the service cannot be reached
   */
  static async connect(apiUrl = globalThis.location.origin, { player = null, onPlayer = () => {} } = {}) {
    const base = apiUrl.replace(/\/+$/, "");
    return new Scoreboard(base, await request(`${base}/api/v1`), player, onPlayer);
  }

  #renewal = null;
  #onPlayer;

  /** Use {@link Scoreboard.connect}. */
  constructor(apiUrl, info, player, onPlayer) {
    this.apiUrl = apiUrl;
    /** @type {{name: string, version: string, api_url: string, sockets_url: string, docs_url: string}} */
    this.info = info;
    /** @type {Player|null} */
    this.player = player;
    this.#onPlayer = onPlayer;
  }

  /**
   * The boards and their settings.
   * @returns {Promise<{board: string, title: string, actions: object[]}[]>}
   */
  async boards() {
    return (await request(`${this.apiUrl}/api/v1/leaderboards`)).boards;
  }

  /**
   * Makes a new player and goes on as that player.
   * @param {string} username 3–32 letters, digits, `_ . -`
   * @param {string} email
   * @returns {Promise<Player>}
   * @throws {ScoreboardError} `already_exists`, `validation_failed`, `rate_limited`, `forbidden`
   */
  async register(username, email) {
    const body = stringifyExact({ username, email });
    const made = await request(`${this.apiUrl}/api/v1/users`, { method: "POST", body });
    const { user_id, secret_key } = made;
    return this.#become({ user_id, username: made.username, secret_key, ...tokensOf(made) });
  }

  /**
   * Sends a signed action, again and again under the same `action_id` until the service has answered it,
   * so that it counts once however often it had to be sent.
   * @param {string} action a name in the catalogue
   * @param {object} [options]
   * @param {Integer} [options.value]
   * @param {number} [options.wait] seconds to wait for the result, up to 10; without it the answer is `queued`
   * @param {string} [options.actionId] the idempotency key, where it must outlive this page
   * @param {AbortSignal} [options.signal]
   * @param {(step: {name: "signed"|"sent"|"retrying", attempt: number, pause?: number}) => void} [options.onStep]
   * @returns {Promise<Outcome>}
   * @throws {ScoreboardError} refused, or not answered after several attempts
   */
  async submit(action, { value = 1, wait, actionId = crypto.randomUUID(), signal, onStep = () => {} } = {}) {
    let renew = false;
    let refused = false;
    for (let attempt = 0; ; attempt += 1) {
      try {
        await this.token({ renew });
        renew = false;
        return await this.#submitOnce({ action, value, wait, actionId, signal, onStep, attempt });
      } catch (error) {
        if (!(error instanceof ScoreboardError)) throw error;
        if (error.status === 401 && !refused) {
          refused = renew = true;
        } else if (!error.passing || attempt + 1 >= ATTEMPTS_MOST) {
          throw error;
        } else {
          const pause = pauseFor(attempt, { base: 250, most: 8_000, least: error.retryAfter });
          onStep({ name: "retrying", attempt, pause });
          await sleep(pause, signal);
        }
      }
    }
  }

  /**
   * What became of an action.
   * @param {string} actionId
   * @returns {Promise<Outcome>}
   */
  async outcome(actionId) {
    const url = `${this.apiUrl}/api/v1/scores/updates/${encodeURIComponent(actionId)}`;
    return request(url, { token: await this.token() });
  }

  /**
   * Follows a board. Works without a player; with one, the personal half comes too.
   * @param {string} name
   * @param {import("./scoreboard/live-board.js").LiveBoardOptions} [options]
   * @returns {LiveBoard} already connecting
   */
  board(name, options = {}) {
    const token = this.player ? (how) => this.token(how) : null;
    return new LiveBoard(this.info.sockets_url, name, { token, ...options });
  }

  /**
   * An access token that holds for at least a few seconds more.
   * @param {{renew?: boolean}} [how] renew: the present one was refused
   * @returns {Promise<string>}
   */
  async token({ renew = false } = {}) {
    const player = this.#present();
    if (!renew && player.expires_at - Date.now() > TOKEN_MARGIN_MILLISECONDS) return player.access_token;
    this.#renewal ??= this.#renew(player).finally(() => { this.#renewal = null; });
    return (await this.#renewal).access_token;
  }

  /** Gives the tokens up, here and everywhere, and forgets the player. */
  async logout() {
    const { access_token: token } = this.#present();
    this.#become(null);
    await request(`${this.apiUrl}/api/v1/auth/logout`, { method: "POST", token });
  }

  /** Forgets the player here, without telling the service. */
  forget() {
    this.#become(null);
  }

  async #submitOnce({ action, value, wait, actionId, signal, onStep, attempt }) {
    const token = await this.token();
    const { user_id: userId, secret_key: secretKey } = this.#present();
    const nonce = randomHex(32);
    const timestamp = Date.now();
    const signature = await signAction(secretKey, { userId, actionId, action, value, nonce, timestamp });
    onStep({ name: "signed", attempt });
    const body = stringifyExact({ action_id: actionId, action, value, nonce, timestamp, signature });
    const answer = request(`${this.apiUrl}/api/v1/scores/update`, {
      method: "POST", body, token, signal,
      prefer: wait ? `wait=${Math.min(Math.ceil(wait), 10)}` : undefined,
      patience: 15_000 + (wait ?? 0) * 1000,
    });
    onStep({ name: "sent", attempt });
    return answer;
  }

  /** By the refresh token; where that was spent (in a copied tab, say), by a signature. */
  async #renew(player) {
    try {
      const pair = await request(`${this.apiUrl}/api/v1/auth/refresh`, { method: "POST", token: player.refresh_token });
      return this.#become({ ...player, ...tokensOf(pair) });
    } catch (error) {
      if (error.status !== 401) throw error;
    }
    const { username, secret_key: secretKey } = player;
    const nonce = randomHex(32);
    const timestamp = Date.now();
    const signature = await signTokenRequest(secretKey, { username, nonce, timestamp });
    const body = stringifyExact({ username, timestamp, nonce, signature });
    const pair = await request(`${this.apiUrl}/api/v1/auth/token`, { method: "POST", body });
    return this.#become({ ...player, ...tokensOf(pair) });
  }

  #present() {
    if (this.player === null) throw new ScoreboardError("token_missing", "Register or restore a player first.");
    return this.player;
  }

  #become(player) {
    this.player = player;
    this.#onPlayer(player);
    return player;
  }
}

function tokensOf(answer) {
  return {
    access_token: answer.access_token,
    refresh_token: answer.refresh_token,
    expires_at: Date.now() + Number(answer.expires_in) * 1000,
  };
}
