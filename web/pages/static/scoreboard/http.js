/**
 * One request to the API: exact JSON both ways, problems as errors.
 * @module
 */
import { retryAfter } from "./backoff.js";
import { parseExact } from "./exact.js";
import { ScoreboardError } from "./problem.js";

const REQUEST_MILLISECONDS = 15_000;

/**
 * Sends one request, once.
 * @param {string} url
 * @param {{method?: string, body?: string, token?: string, prefer?: string, patience?: number, signal?: AbortSignal}} [options]
 *   patience: milliseconds beyond which the service counts as unreachable
 * @returns {Promise<any>} the answer's body; for 202 and 200 alike
 * @throws {ScoreboardError}
 */
export async function request(url, { method = "GET", body, token, prefer, patience = REQUEST_MILLISECONDS, signal } = {}) {
  const headers = { Accept: "application/json" };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (token) headers.Authorization = `Bearer ${token}`;
  if (prefer) headers.Prefer = prefer;
  const late = AbortSignal.timeout(patience);
  let response;
  let text;
  try {
    response = await fetch(url, {
      method, headers, body, cache: "no-cache", credentials: "omit",
      signal: signal ? AbortSignal.any([signal, late]) : late,
    });
    text = await response.text();
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ScoreboardError("unreachable", "The service cannot be reached.");
  }
  if (!response.ok) throw problemOf(response, text);
  return text ? parsedAnswer(text) : null;
}

/** A network's sign-in page answers 200 too; it is not the service. */
function parsedAnswer(text) {
  try {
    return parseExact(text);
  } catch {
    throw new ScoreboardError("unreachable", "Something else than the service answered.");
  }
}

function problemOf(response, text) {
  const problem = parsedProblem(text);
  return new ScoreboardError(
    problem.code ?? (response.status === 503 ? "not_ready" : "unknown"),
    problem.detail || `The service answered ${response.status}.`,
    {
      status: response.status,
      retryAfter: retryAfter(response.headers.get("Retry-After")),
      errors: problem.errors ?? [],
      requestId: problem.request_id ?? "",
    },
  );
}

/** A proxy in between may answer with something that is no problem document. */
function parsedProblem(text) {
  try {
    const problem = parseExact(text);
    return problem !== null && typeof problem === "object" ? problem : {};
  } catch {
    return {};
  }
}
