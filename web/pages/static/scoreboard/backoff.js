/**
 * How long to wait before trying again: full jitter, so that a crowd does not come back all at once.
 * @module
 */

/**
 * A random pause that grows with each attempt.
 * @param {number} attempt 0 for the first
 * @param {{base?: number, most?: number, least?: number}} [bounds] in milliseconds
 * @returns {number} milliseconds
 */
export function pauseFor(attempt, { base = 500, most = 30_000, least = 0 } = {}) {
  return least + Math.random() * Math.min(most, base * 2 ** Math.min(attempt, 20));
}

/**
 * Milliseconds a server asks us to wait, by a Retry-After header in seconds or as a date.
 * @param {string|null} header
 * @returns {number} 0 without one
 */
export function retryAfter(header) {
  if (!header) return 0;
  const seconds = Number(header);
  const milliseconds = Number.isFinite(seconds) ? seconds * 1000 : Date.parse(header) - Date.now();
  return Math.min(Math.max(milliseconds || 0, 0), 120_000);
}

/**
 * Waits.
 * @param {number} milliseconds
 * @param {AbortSignal} [signal] ends the waiting with its reason
 * @returns {Promise<void>}
 */
export function sleep(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) { reject(signal.reason); return; }
    const timer = setTimeout(resolve, milliseconds);
    signal?.addEventListener("abort", () => { clearTimeout(timer); reject(signal.reason); }, { once: true });
  });
}
