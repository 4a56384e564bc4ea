/**
 * Signatures, as the service checks them: HMAC-SHA256 over lines of text.
 * @module
 */
import { ScoreboardError } from "./problem.js";

const encoder = new TextEncoder();

function bytesOfHex(hex) {
  if (!/^(?:[0-9a-fA-F]{2})+$/.test(hex)) throw new TypeError("a secret key is spelt in hex");
  return Uint8Array.from(hex.match(/../g), (pair) => parseInt(pair, 16));
}

function hexOfBytes(bytes) {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/**
 * The lower-case hex of HMAC-SHA256 over the lines, joined by newlines.
 * @param {string} secretKey hex
 * @param {...(string|number|bigint)} lines
 * @returns {Promise<string>}
 */
export async function signLines(secretKey, ...lines) {
  if (!globalThis.crypto?.subtle) {
    throw new ScoreboardError("insecure_context", "Browsers sign only on pages from https or localhost.");
  }
  const algorithm = { name: "HMAC", hash: "SHA-256" };
  const key = await crypto.subtle.importKey("raw", bytesOfHex(secretKey), algorithm, false, ["sign"]);
  const signature = await crypto.subtle.sign("HMAC", key, encoder.encode(lines.join("\n")));
  return hexOfBytes(new Uint8Array(signature));
}

/**
 * The signature of an action.
 * @param {string} secretKey hex
 * @param {{userId: string, actionId: string, action: string, value: number|bigint, nonce: string, timestamp: number}} signed
 * @returns {Promise<string>} 64 hex digits
 */
export function signAction(secretKey, { userId, actionId, action, value, nonce, timestamp }) {
  return signLines(secretKey, "v1", userId, actionId, action, value, nonce, timestamp);
}

/**
 * The signature that asks for tokens.
 * @param {string} secretKey hex
 * @param {{username: string, nonce: string, timestamp: number}} signed
 * @returns {Promise<string>} 64 hex digits
 */
export function signTokenRequest(secretKey, { username, nonce, timestamp }) {
  return signLines(secretKey, "v1", "token", username, nonce, timestamp);
}

/**
 * Random hex digits.
 * @param {number} digits an even number
 * @returns {string}
 */
export function randomHex(digits) {
  return hexOfBytes(crypto.getRandomValues(new Uint8Array(digits / 2)));
}
