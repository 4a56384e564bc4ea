/**
 * The operator's token: in this tab's own storage and nowhere else, never in an address.
 * @module
 */

const KEY = "scoreboard.operator";

/** Who is signed in, in this tab. */
export class Session {
  #token = null;

  constructor() {
    try {
      this.#token = sessionStorage.getItem(KEY);
    } catch (error) {
      console.info("The token is known to this page alone:", error.message); // storage may be forbidden
    }
  }

  /** @returns {string|null} */
  get token() {
    return this.#token;
  }

  /** @returns {string} whom the token was made for; only to show it, the service decides */
  get name() {
    try {
      const payload = (this.#token ?? "").split(".")[1].replaceAll("-", "+").replaceAll("_", "/");
      return String(JSON.parse(atob(payload)).sub);
    } catch {
      return "operator";
    }
  }

  /** @param {string} token */
  keep(token) {
    this.#token = token;
    try {
      sessionStorage.setItem(KEY, token);
    } catch (error) {
      console.info("The token is known to this page alone:", error.message);
    }
  }

  /** Ends it. */
  forget() {
    this.#token = null;
    try {
      sessionStorage.removeItem(KEY);
    } catch (error) {
      console.info("Nothing was kept:", error.message);
    }
  }
}
