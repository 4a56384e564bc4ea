/**
 * Rows glide to their new places: transforms only, and only where somebody can see them.
 * @module
 */

const GLIDE = { duration: 480, easing: "cubic-bezier(0.22, 0.8, 0.26, 1)" };
const GLOW_MILLISECONDS = 1_400;
const APPEAR_MILLISECONDS = 320;

const calm = window.matchMedia("(prefers-reduced-motion: reduce)");
const gliding = new WeakMap();

/** Whether this person wants things to move. */
export function mayMove() {
  return !calm.matches;
}

/**
 * Where a row is seen now, which while it glides is not where it belongs.
 * @param {HTMLElement} row
 * @param {number} top the viewport's y of the first row
 * @param {number} place the y where it belongs, from the first row
 * @returns {number} y from the first row
 */
export function seenAt(row, top, place) {
  return gliding.has(row) ? row.getBoundingClientRect().top - top : place;
}

/**
 * Lets a row glide in from `distance` pixels away.
 * @param {HTMLElement} row
 * @param {number} distance
 */
export function glide(row, distance) {
  gliding.get(row)?.cancel();
  gliding.delete(row);
  if (Math.abs(distance) < 1) return;
  const motion = row.animate([{ transform: `translateY(${distance}px)` }, { transform: "translateY(0)" }], GLIDE);
  gliding.set(row, motion);
  motion.onfinish = () => { if (gliding.get(row) === motion) gliding.delete(row); };
}

/**
 * Lets a new row appear.
 * @param {HTMLElement} row
 */
export function appear(row) {
  row.animate([{ opacity: 0 }, { opacity: 1 }], { duration: APPEAR_MILLISECONDS, easing: "ease-out" });
}

/**
 * Lets a row whose score changed light up for a moment.
 * @param {HTMLElement} row
 */
export function glow(row) {
  row.animate([{ backgroundColor: "var(--glow)" }], { duration: GLOW_MILLISECONDS, easing: "ease-out" });
}
