/**
 * The service's calls for operators, each with a deadline; who is no longer let in is signed out.
 * @module
 */
import { request } from "../scoreboard/http.js";

const ADMIN = "/api/v1/admin";
/** A list or an act that takes longer is not worth waiting for: the service itself gives up before. */
const PATIENCE_MILLISECONDS = 12_000;

/** The calls, under the session's token. */
export class Service {
  #session;
  #onLost;

  /**
   * @param {import("./session.js").Session} session
   * @param {(error: Error) => void} onLost the token holds no more
   */
  constructor(session, onLost) {
    this.#session = session;
    this.#onLost = onLost;
  }

  /**
   * Reads.
   * @param {string} path below /api/v1/admin
   * @param {Record<string, string|number|null|undefined>} [query] what is null or empty is left out
   * @param {{patience?: number}} [options] milliseconds
   * @returns {Promise<any>}
   * @throws {import("../scoreboard/problem.js").ScoreboardError}
   */
  get(path, query = {}, options = {}) {
    const wanted = Object.entries(query).filter(([, value]) => value !== null && value !== undefined && value !== "");
    const search = wanted.length ? `?${new URLSearchParams(wanted)}` : "";
    return this.#ask(`${ADMIN}${path}${search}`, options);
  }

  /**
   * Acts.
   * @param {string} path below /api/v1/admin
   * @param {object} body
   * @returns {Promise<any>}
   * @throws {import("../scoreboard/problem.js").ScoreboardError}
   */
  post(path, body) {
    return this.#ask(`${ADMIN}${path}`, { method: "POST", body: JSON.stringify(body) });
  }

  /** Reads what everybody may read. @param {string} path below /api/v1 @returns {Promise<any>} */
  read(path) {
    return request(`/api/v1${path}`, { patience: PATIENCE_MILLISECONDS });
  }

  async #ask(url, options) {
    try {
      return await request(url, { patience: PATIENCE_MILLISECONDS, ...options, token: this.#session.token });
    } catch (error) {
      if (error.status === 401) this.#onLost(error);
      throw error;
    }
  }
}

/** @param {string} text @returns {string} as a part of a path */
export const part = encodeURIComponent;
