/**
 * Looks at the service again and again, and keeps what was seen of late.
 * @module
 */

/** Between two looks while the figures are on the screen, and while only the numbers beside the rooms are. */
const CLOSE_MILLISECONDS = 2_000;
const AFAR_MILLISECONDS = 10_000;
/** Looks that are kept: five minutes. */
const KEPT = 150;
/** A rate is over so long at least, so that it does not flicker. */
const RATE_SECONDS = 4;
const PATIENCE_MILLISECONDS = 9_000;

/** @typedef {{pipeline: any, sockets: any, parts: Record<string, any>, accepted: number|null, settled: number|null, at: number}} Look */

/** Polls the glance, one call at a time. */
export class Watcher {
  /** @type {Look[]} the last ones, the newest at the end */
  looks = [];
  /** @type {Error|null} why the last one failed */
  error = null;
  #service;
  #listeners = new Set();
  #close = false;
  #timer = 0;
  #running = false;
  #looking = false;

  /** @param {import("./service.js").Service} service */
  constructor(service) {
    this.#service = service;
    document.addEventListener("visibilitychange", () => this.#again(0));
  }

  /** Begins, with what was seen at sign-in if anything was. @param {any} [first] */
  start(first) {
    this.#running = true;
    if (first) this.#take(first);
    this.#again(first ? CLOSE_MILLISECONDS : 0);
  }

  /** Ends, and forgets. */
  stop() {
    this.#running = false;
    clearTimeout(this.#timer);
    this.looks = [];
    this.error = null;
  }

  /** Looks now: something was done. */
  now() {
    this.#again(0);
  }

  /** How closely to look. @param {boolean} close */
  set close(close) {
    if (this.#close === close) return;
    this.#close = close;
    this.#again(0);
  }

  /**
   * @param {() => void} listener told of each look, and of each that failed
   * @returns {() => void} ends it
   */
  listen(listener) {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  #again(milliseconds) {
    clearTimeout(this.#timer);
    if (this.#running && !document.hidden) this.#timer = setTimeout(() => this.#look(), milliseconds);
  }

  async #look() {
    if (this.#looking) return; // the one under way asks for the next
    this.#looking = true;
    try {
      const seen = await this.#service.get("/glance", {}, { patience: PATIENCE_MILLISECONDS });
      if (this.#running) this.#take(seen);
    } catch (error) {
      this.error = error;
      if (this.#running) this.#tell();
    } finally {
      this.#looking = false;
      this.#again(this.#close ? CLOSE_MILLISECONDS : AFAR_MILLISECONDS);
    }
  }

  #take(seen) {
    this.error = null;
    const at = Date.now();
    this.looks = [...this.looks.slice(1 - KEPT), { ...seen, at, accepted: this.#rate(seen, "accepted"), settled: this.#rate(seen, "settled") }];
    this.#tell();
  }

  /** From two counts of PostgreSQL's by its own clock: whichever process answers, it is the rate of all. */
  #rate({ pipeline }, name) {
    if (!pipeline) return null;
    const now = new Date(pipeline.at).getTime() / 1000;
    const known = this.looks.filter((look) => look.pipeline);
    const before = known.findLast((look) => now - new Date(look.pipeline.at).getTime() / 1000 >= RATE_SECONDS) ?? known[0];
    if (!before) return null;
    const seconds = now - new Date(before.pipeline.at).getTime() / 1000;
    return seconds > 0.2 ? Math.max(0, Number(pipeline[name] - before.pipeline[name]) / seconds) : known.at(-1)[name];
  }

  #tell() {
    for (const listener of this.#listeners) listener();
  }
}
