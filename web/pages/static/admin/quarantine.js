/**
 * What is held back from the boards, until somebody releases or rejects it.
 * @module
 */
import { button, section } from "./common.js";
import { el } from "./dom.js";
import { integer, moment } from "./format.js";
import { part } from "./service.js";
import { List } from "./table.js";

const AT_ONCE = 25;

/** @param {import("./common.js").Room} room @returns {import("./common.js").Shown} */
export function quarantine({ service, acts, begin }) {
  const list = new List({
    caption: "Players whose updates are held back, the longest waiting first",
    empty: "Nothing is held back.",
    columns: [
      { head: "Player", kind: "wide", cell: ({ username }) => el("a", { href: `#/quarantine/${part(username)}` }, username) },
      { head: "Held back", kind: "number", cell: ({ updates }) => integer(updates) },
      { head: "Oldest", cell: ({ oldest_accepted_at: at }) => moment(at) },
      { head: "", kind: "acts", cell: ({ username }) => choices(acts, begin, username) },
    ],
    read: async (cursor) => {
      const { players: rows, next_cursor: next } = await service.get("/quarantine", { cursor, limit: AT_ONCE });
      return { rows, next };
    },
  });
  return { title: "Quarantine", content: [el("div.card", {}, list.element)], again: () => list.load() };
}

/** @param {import("./common.js").Room} room @param {string} name @returns {import("./common.js").Shown} */
export function held({ service, acts, begin }, name) {
  const list = new List({
    caption: `What is held back of ${name}, in the order of acceptance`,
    empty: "Nothing of this player is held back.",
    columns: [
      { head: "Accepted", cell: ({ accepted_at: at }) => moment(at) },
      { head: "Action", cell: ({ action }) => action },
      { head: "Value", kind: "number", cell: ({ value }) => integer(value) },
      { head: "Id", kind: "wide", cell: ({ action_id: id }) => el("code", {}, id) },
      { head: "Request", cell: ({ request_id: id }) => el("code.id", { title: id }, id) },
    ],
    read: async (cursor) => {
      const { updates: rows, next_cursor: next } = await service.get(`/quarantine/${part(name)}`, { cursor, limit: AT_ONCE });
      return { rows, next };
    },
  });
  return {
    title: `Held back of ${name}`,
    content: [
      el("p.lead", {}, el("a", { href: "#/quarantine" }, "All who wait"), " · ", el("a", { href: `#/players/${part(name)}` }, "The player")),
      section("Updates", el("div.choice.start", {}, choices(acts, begin, name)), list.element),
    ],
    again: () => list.load(),
  };
}

function choices(acts, begin, name) {
  return [
    button("Release", () => begin(acts.release(name)), `Release what is held back of ${name}`),
    button("Reject", () => begin(acts.reject(name)), `Reject what is held back of ${name}`),
  ];
}
