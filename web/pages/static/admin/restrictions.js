/**
 * Who is blocked, throttled or in quarantine now.
 * @module
 */
import { button, chip, subjectOf, tabs } from "./common.js";
import { el } from "./dom.js";
import { ago, moment } from "./format.js";
import { List } from "./table.js";

const AT_ONCE = 25;
const KINDS = [["", "All"], ["block", "Blocks"], ["throttle", "Throttles"], ["quarantine", "Quarantines"]];

/** @param {import("./common.js").Room} room @returns {import("./common.js").Shown} */
export function restrictions({ service, acts, begin, query }) {
  const chosen = query.get("kind") ?? "";
  const list = new List({
    caption: "Restrictions in force, the newest first",
    empty: "Nobody is restricted.",
    columns: [
      { head: "Who", cell: subjectOf },
      { head: "What", cell: ({ kind, throttle_to: limit }) => chip(limit ? `${kind} to ${limit}` : kind, kind === "block" ? "bad" : "warn") },
      { head: "Why", cell: ({ reason }) => reason, kind: "wide" },
      { head: "By", cell: ({ imposed_by: by }) => by },
      { head: "Since", cell: ({ imposed_at: at }) => moment(at) },
      { head: "Ends", cell: ({ ends_at: ends }) => (ends ? el("time", { datetime: ends, title: ends }, ago(ends)) : "when lifted") },
      { head: "", kind: "acts", cell: (each) => button("Lift", () => begin(acts.lift(each)), `Lift the ${each.kind} of ${each.username ?? each.subject}`) },
    ],
    read: async (cursor) => {
      const { restrictions: rows, next_cursor: next } = await service.get("/restrictions", { kind: chosen, cursor, limit: AT_ONCE });
      return { rows, next };
    },
  });
  return {
    title: "Restrictions",
    content: [
      el("div.tools", {}, tabs("Which restrictions", KINDS.map(([kind, words]) => [kind ? `#/restrictions?kind=${kind}` : "#/restrictions", words, kind === chosen])),
        el("button.primary", { type: "button", click: () => begin(acts.restrict()) }, "Restrict…")),
      el("div.card", {}, list.element),
    ],
    again: () => list.load(),
  };
}
