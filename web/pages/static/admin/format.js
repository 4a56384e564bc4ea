/**
 * Times, spans and ids as operators read them.
 * @module
 */
import { formatInteger } from "../scoreboard/exact.js";
import { el } from "./dom.js";

const MOMENT = new Intl.DateTimeFormat(undefined, {
  month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23",
});
const CLOCK = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });

/**
 * A moment, with the exact one and how long ago it was for who points at it.
 * @param {string|null} instant RFC 3339
 * @returns {HTMLElement|string}
 */
export function moment(instant) {
  if (!instant) return "–";
  const date = new Date(instant);
  return el("time", { datetime: instant, title: `${instant} (${ago(instant)})` }, MOMENT.format(date));
}

/** @param {string} instant @returns {string} the time of day */
export function clock(instant) {
  return CLOCK.format(new Date(instant));
}

/** @param {string} instant @returns {string} as `3 min ago`, or `in 2 h` */
export function ago(instant) {
  const seconds = Math.round((Date.now() - new Date(instant)) / 1000);
  if (seconds === 0) return "just now";
  return seconds > 0 ? `${span(seconds)} ago` : `in ${span(-seconds)}`;
}

/** @param {number} seconds @returns {string} as `12 ms`, `1.3 s`, `4 min`, `2.1 h` */
export function span(seconds) {
  if (seconds < 0.9995) return `${decimal(seconds * 1000, seconds < 0.01 ? 1 : 0)} ms`;
  if (seconds < 90) return `${decimal(seconds, seconds < 10 && !Number.isInteger(seconds) ? 1 : 0)} s`;
  if (seconds < 5_400) return `${decimal(seconds / 60, 0)} min`;
  return seconds < 172_800 ? `${decimal(seconds / 3_600, 1)} h` : `${decimal(seconds / 86_400, 1)} d`;
}

/** @param {number} rate a second @returns {string} */
export function perSecond(rate) {
  return decimal(rate, rate > 0 && rate < 10 ? 1 : 0);
}

/** @param {string} id @returns {HTMLElement} its beginning, the whole for who points at it */
export function shortId(id) {
  return el("code", { title: id }, id.length > 13 ? `${id.slice(0, 8)}…` : id);
}

export { formatInteger as integer };

function decimal(value, digits) {
  return new Intl.NumberFormat(undefined, { maximumFractionDigits: digits, minimumFractionDigits: digits && value < 100 ? digits : 0 }).format(value);
}
