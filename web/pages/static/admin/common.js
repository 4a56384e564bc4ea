/**
 * Pieces that several rooms show alike.
 * @module
 */
import { el } from "./dom.js";
import { shortId } from "./format.js";
import { part } from "./service.js";

/**
 * @typedef {object} Room what a room is given
 * @property {import("./service.js").Service} service
 * @property {import("./watcher.js").Watcher} watcher
 * @property {import("./acts.js").Acts} acts
 * @property {(act: import("./acting.js").Act) => void} begin asks for an act
 * @property {URLSearchParams} query of the address
 * @property {(query: Record<string, string>) => void} choose puts others in their place
 *
 * @typedef {object} Shown what a room gives
 * @property {string} title
 * @property {Node[]} content beneath the title
 * @property {() => void} [again] reads anew: something was done
 * @property {() => void} [leave]
 */

/** A link to a player. @param {string|null} name @param {string} [id] @returns {HTMLElement} */
export function playerLink(name, id = "") {
  return name ? el("a.player", { href: `#/players/${part(name)}` }, name) : shortId(id);
}

/** Whoever a restriction or an incident is about. @param {any} row @returns {HTMLElement} */
export function subjectOf({ subject_kind: kind, subject, username }) {
  return kind === "user" ? playerLink(username, subject) : el("code", {}, subject);
}

/** @param {string} words @param {string} [kind] `good`, `warn`, `bad` @returns {HTMLElement} */
export function chip(words, kind = "") {
  return el(kind ? `span.chip.${kind}` : "span.chip", {}, words);
}

/** @param {string} words @param {() => void} click @param {string} [label] for who does not see where it stands */
export function button(words, click, label = null) {
  return el("button.quiet", { type: "button", click, "aria-label": label }, words);
}

/** A part of a room with a heading. */
export function section(title, ...content) {
  const id = `s-${title.toLowerCase().replaceAll(/[^a-z]+/g, "-")}`;
  return el("section.card", { "aria-labelledby": id }, el("h2", { id }, title), ...content);
}

/** Links of which one is chosen. @param {string} label @param {[string, string, boolean][]} links address, words, whether it is the one */
export function tabs(label, links) {
  return el("nav.tabs", { "aria-label": label }, links.map(([href, words, chosen]) =>
    el("a", { href, "aria-current": chosen ? "true" : null }, words)));
}
