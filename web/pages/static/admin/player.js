/**
 * One player: where they stand, what they did, what is held against them, and what can be done.
 * @module
 */
import { button, chip, section } from "./common.js";
import { el } from "./dom.js";
import { ago, integer, moment } from "./format.js";
import { problem } from "./problem.js";
import { part } from "./service.js";
import { List, table } from "./table.js";

const ROWS_AT_ONCE = 25;

/** @param {import("./common.js").Room} room @param {string} name @returns {import("./common.js").Shown} */
export function player(room, name) {
  const file = el("div.file", { "aria-busy": "true" }, el("p.state.loading", {}, "One moment…"));
  const rows = historyOf(room, name);
  const read = async () => {
    try {
      const found = await room.service.get(`/players/${part(name)}`);
      file.replaceChildren(...fileOf(room, found));
    } catch (error) {
      file.replaceChildren(problem(error, read));
    } finally {
      file.setAttribute("aria-busy", "false");
    }
  };
  read();
  return {
    title: name,
    content: [file, section("History", el("p.lead", {}, "The newest first, with the rows that acts of operators made."), rows.element)],
    again: () => { read(); rows.load(); },
  };
}

function fileOf(room, { player: who, places, restrictions, open_incidents: incidents, held_updates: held, dead_letters: letters }) {
  const standing = restrictions.filter(({ lifted_at: lifted, ends_at: ends }) => !lifted && (!ends || new Date(ends) > Date.now()));
  return [
    el("div.card.padded.who", {},
      el("p.chips", {},
        standing.map(({ kind }) => chip(kind === "quarantine" ? "in quarantine" : `${kind}ed`.replace("throttleed", "throttled"), kind === "block" ? "bad" : "warn")),
        who.hidden_at && chip("hidden", "warn"), who.erased_at && chip("erased"),
        !standing.length && !who.hidden_at && !who.erased_at && chip("in good standing", "good")),
      el("dl.facts", {},
        fact("User id", el("code.whole", {}, who.user_id)),
        fact("Registered", moment(who.registered_at)),
        fact("Incidents", el("a", { href: `#/incidents?subject=${part(who.user_id)}&all=1` }, incidents ? `${integer(incidents)} open` : "none open")),
        fact("Held back", held ? el("a", { href: `#/quarantine/${part(who.username)}` }, `${integer(held)} updates`) : "nothing"),
        fact("Dead letters", letters ? el("a", { href: `#/letters?player=${part(who.username)}` }, `${integer(letters)} waiting`) : "none waiting"),
        fact("Acts", el("a", { href: `#/audit?subject=${part(who.user_id)}` }, "all of them"))),
      who.erased_at ? null : el("div.choice.start", {}, choices(room, who, standing))),
    section("Places", places.length ? table(`Boards on which ${who.username} has a score`, PLACES, places) : el("p.state", {}, "No score on any board yet.")),
    restrictions.length ? section("Restrictions", table(`What was imposed on ${who.username}`, restrictionColumns(room), restrictions)) : "",
  ];
}

function fact(name, value) {
  return el("div", {}, el("dt", {}, name), el("dd", {}, value));
}

function choices({ acts, begin }, { username: name, hidden_at: hidden }, standing) {
  const has = (kind) => standing.find((each) => each.kind === kind);
  const restrictOrLift = (kind, words) => has(kind)
    ? button(`Lift ${kind}`, () => begin(acts.lift(has(kind))))
    : button(words, () => begin(acts.restrict({ kind, subject_kind: "user", name })));
  return [
    hidden ? button("Show on boards", () => begin(acts.show(name))) : button("Hide from boards", () => begin(acts.hide(name))),
    restrictOrLift("block", "Block"),
    restrictOrLift("quarantine", "Quarantine"),
    button("Void a span", () => begin(acts.span(name, "void"))),
    button("Restore a span", () => begin(acts.span(name, "restore"))),
    button("End sign-ins", () => begin(acts.signOut(name))),
  ];
}

const PLACES = [
  { head: "Board", cell: ({ board, season }) => `${board}${season > 1 ? `, season ${season}` : ""}` },
  { head: "Rank", cell: ({ rank }) => (rank ? integer(rank) : "–"), kind: "number" },
  { head: "Score", cell: ({ score }) => integer(score), kind: "number" },
  { head: "Last action", cell: ({ last_action_id: id }) => el("code", {}, id) },
  { head: "When", cell: ({ last_action_at: at }) => moment(at) },
];

function restrictionColumns({ acts, begin }) {
  const state = ({ lifted_at: lifted, ends_at: ends }) => {
    if (lifted) return chip("lifted");
    if (ends && new Date(ends) <= Date.now()) return chip("ended");
    return chip(ends ? `ends ${ago(ends)}` : "in force", "warn");
  };
  return [
    { head: "What", cell: ({ kind, throttle_to: limit }) => (limit ? `${kind} to ${limit}` : kind) },
    { head: "Why", cell: ({ reason }) => reason, kind: "wide" },
    { head: "By", cell: ({ imposed_by: by }) => by },
    { head: "Since", cell: ({ imposed_at: at }) => moment(at) },
    { head: "State", cell: (each) => state(each) },
    { head: "", kind: "acts", cell: (each) => state(each).classList.contains("warn") && button("Lift", () => begin(acts.lift(each)), `Lift the ${each.kind}`) },
  ];
}

function historyOf({ service, acts, begin }, name) {
  return new List({
    caption: `Changes of ${name}’s scores`,
    empty: "No history yet.",
    columns: [
      { head: "When", cell: ({ created_at: at }) => moment(at) },
      { head: "Action", kind: "wide", cell: ({ action, action_id: id, void: isVoid }) => [el("span.what", {}, action.replace("moderation.", "operator: ")), isVoid && chip("void", "warn"), el("code.id", { title: id }, id)] },
      { head: "Board", cell: ({ board }) => board },
      { head: "Change", kind: "number", cell: ({ score_increment: gain }) => integer(gain, { signed: true }) },
      { head: "Score", kind: "number", cell: ({ new_score: score }) => integer(score) },
      {
        head: "", kind: "acts", cell: ({ action, action_id: id, void: isVoid }) => {
          if (action.startsWith("moderation.")) return "";
          return isVoid ? button("Restore", () => begin(acts.restore(name, [id])), `Restore ${id}`) : button("Void", () => begin(acts.void(name, [id])), `Void ${id}`);
        },
      },
    ],
    read: async (cursor) => {
      const { entries: rows, next_cursor: next } = await service.get(`/players/${part(name)}/history`, { cursor, limit: ROWS_AT_ONCE });
      return { rows, next };
    },
  });
}
