/**
 * What can go wrong, with the service's stable code.
 * @module
 */

/** The service said no, or could not be reached. */
export class ScoreboardError extends Error {
  /**
   * @param {string} code the contract's code; `unreachable` and `insecure_context` are ours
   * @param {string} message a sentence for people
   * @param {{status?: number, retryAfter?: number, errors?: {pointer: string, message: string}[], requestId?: string}} [more]
   */
  constructor(code, message, { status = 0, retryAfter = 0, errors = [], requestId = "" } = {}) {
    super(message);
    this.name = "ScoreboardError";
    this.code = code;
    this.status = status;
    /** milliseconds the service asked us to wait */
    this.retryAfter = retryAfter;
    this.errors = errors;
    this.requestId = requestId;
  }

  /** Whether the same request may succeed later: also after a proxy's 502 or 504, since repeating is safe. */
  get passing() {
    return this.code === "unreachable" || this.status === 429 || this.status >= 500;
  }
}
