/**
 * From the top of a board at one version to the top at another.
 * @module
 */

/** @typedef {import("./exact.js").Integer} Integer */
/**
 * @typedef {object} Entry
 * @property {number} rank from 1, without gaps or ties
 * @property {string} user_id
 * @property {string} username
 * @property {Integer} score
 * @property {string} reached_at RFC 3339
 */
/**
 * @typedef {object} Delta
 * @property {string[]} removals ids of players who left the top
 * @property {Entry[]} upserts entries that are new, changed or moved past another
 */

/**
 * The list after a delta: take out the removals and the upserts' players, put each upsert in at its rank,
 * lowest rank first; the others' ranks follow from their place. Pure: neither argument is changed, and
 * entries that stay as they are keep their identity.
 * @param {readonly Entry[]} list
 * @param {Delta} delta
 * @returns {Entry[]}
 */
export function applyDelta(list, delta) {
  const leaving = new Set(delta.removals);
  for (const entry of delta.upserts) leaving.add(entry.user_id);
  const staying = list.filter((entry) => !leaving.has(entry.user_id));
  const arriving = [...delta.upserts].sort((a, b) => a.rank - b.rank);
  const result = [];
  let next = 0;
  for (const entry of arriving) {
    while (result.length < entry.rank - 1 && next < staying.length) result.push(staying[next++]);
    result.push(entry);
  }
  while (next < staying.length) result.push(staying[next++]);
  return result.map((entry, place) => (entry.rank === place + 1 ? entry : { ...entry, rank: place + 1 }));
}
