/**
 * Integers of any size without loss: JSON in and out, and numbers for people.
 * A score has 64 bits and a JavaScript number 53, so integers beyond those become a BigInt.
 * @module
 */

/** @typedef {number|bigint} Integer a number while it is safe, else a BigInt */

const LONG_DIGITS = /\d{16}/;
const STRING_OR_NUMBER = /"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g;
const WHOLE = /^-?\d+$/;

const REVIVER_SEES_SOURCE = (() => {
  let seen;
  JSON.parse("1", (_key, value, context) => { seen = context?.source; return value; });
  return seen === "1";
})();

/**
 * The smallest type that holds a whole number exactly.
 * @param {string} digits
 * @returns {Integer}
 */
export function integer(digits) {
  const value = Number(digits);
  return Number.isSafeInteger(value) ? value : BigInt(digits);
}

/**
 * JSON.parse that keeps every integer exact.
 * @param {string} text
 * @returns {any} like JSON.parse, with a BigInt for each integer beyond 2^53
 * @throws {SyntaxError}
 */
export function parseExact(text) {
  if (!LONG_DIGITS.test(text)) return JSON.parse(text);
  return REVIVER_SEES_SOURCE ? parseBySource(text) : parseByMark(text);
}

function parseBySource(text) {
  return JSON.parse(text, (_key, value, context) =>
    typeof value === "number" && !Number.isSafeInteger(value) && WHOLE.test(context.source)
      ? BigInt(context.source)
      : value);
}

/**
 * The same for engines whose reviver is not told the source: long integers travel as marked strings.
 * @param {string} text
 * @returns {any}
 */
export function parseByMark(text) {
  const mark = `integer:${Math.random()}:`;
  const marked = text.replace(STRING_OR_NUMBER, (token) =>
    WHOLE.test(token) && !Number.isSafeInteger(Number(token)) ? `"${mark}${token}"` : token);
  return JSON.parse(marked, (_key, value) =>
    typeof value === "string" && value.startsWith(mark) ? BigInt(value.slice(mark.length)) : value);
}

/**
 * JSON.stringify for flat messages that may hold a BigInt.
 * @param {Record<string, string|number|bigint>} members
 * @returns {string}
 */
export function stringifyExact(members) {
  const pairs = Object.entries(members).map(([name, value]) =>
    `${JSON.stringify(name)}:${typeof value === "bigint" ? value : JSON.stringify(value)}`);
  return `{${pairs.join(",")}}`;
}

const FORMATS = new Map();

/**
 * A whole number as people of this locale write it, exact at any size.
 * @param {Integer} value
 * @param {{signed?: boolean, locale?: string}} [options] signed: with a plus sign too
 * @returns {string}
 */
export function formatInteger(value, { signed = false, locale = undefined } = {}) {
  const key = `${locale}:${signed}`;
  if (!FORMATS.has(key)) {
    FORMATS.set(key, new Intl.NumberFormat(locale, {
      maximumFractionDigits: 0, signDisplay: signed ? "exceptZero" : "auto",
    }));
  }
  return FORMATS.get(key).format(value);
}
