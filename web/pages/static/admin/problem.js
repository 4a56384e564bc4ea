/**
 * Says what went wrong, and what to do about it.
 * @module
 */
import { el } from "./dom.js";

const TITLES = {
  unreachable: "The service cannot be reached",
  forbidden: "This token may not do that",
  not_found: "It is not there",
  validation_failed: "Something is not right yet",
  rate_limited: "Too much at once",
  not_ready: "A part of the service is away",
  overloaded: "The service is overloaded",
  token_missing: "Sign in first",
  token_invalid: "This is no token of this service",
  token_expired: "The token’s time is over",
  token_revoked: "The token was revoked",
  internal: "A fault of the service",
};
const ADVICE = {
  unreachable: "Nothing is known to have changed. Look at the network and the load balancer, then try again.",
  forbidden: "Make one with the scope moderation: flask --app web tokens create --scope moderation.",
  not_found: "Somebody else may have done it already. Look at the list anew.",
  rate_limited: "Wait a moment, then try again.",
  not_ready: "The glance says which. Try again in a moment.",
  overloaded: "Try again in a moment.",
  token_invalid: "Paste the last line that tokens create printed, the whole of it.",
  token_expired: "Make a new one with tokens create.",
  token_revoked: "Make a new one with tokens create.",
  internal: "Report it with the request’s id; repeating is safe.",
};

/**
 * What to show of an error.
 * @param {Error & {code?: string, errors?: object[], requestId?: string}} error
 * @returns {Node[]}
 */
export function told(error) {
  const faults = (error.errors ?? []).map(({ pointer, message }) => `${pointer.replace("/", "")} ${message}`);
  const advice = ADVICE[error.code];
  return [
    el("p.problem-title", {}, TITLES[error.code] ?? "That did not work"),
    el("p", {}, faults.length ? `${faults.join("; ")}.` : error.message),
    advice && el("p.advice", {}, advice),
    error.requestId && el("p.advice", {}, "Request ", el("code", {}, error.requestId)),
  ].filter(Boolean);
}

/**
 * The same in the place of what could not be had.
 * @param {Error} error
 * @param {() => void} again
 * @returns {HTMLElement}
 */
export function problem(error, again) {
  return el("div.problem", { role: "alert" }, told(error), el("button.quiet", { type: "button", click: again }, "Try again"));
}
