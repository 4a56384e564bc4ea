/**
 * Incidents: who went over a rule’s threshold, with what led to it.
 * @module
 */
import { button, chip, section, subjectOf, tabs } from "./common.js";
import { el } from "./dom.js";
import { integer, moment, shortId } from "./format.js";
import { problem } from "./problem.js";
import { part } from "./service.js";
import { List, table } from "./table.js";

const AT_ONCE = 25;

/** @param {import("./common.js").Room} room @returns {import("./common.js").Shown} */
export function incidents({ service, acts, begin, query }) {
  const all = query.get("all") === "1";
  const subject = query.get("subject");
  const list = new List({
    caption: "Incidents, the newest first",
    empty: all ? "There were no incidents." : "No incident is open.",
    columns: [
      { head: "Rule", kind: "wide", cell: ({ id, rule }) => el("a", { href: `#/incidents/${part(id)}` }, rule) },
      { head: "Who", cell: subjectOf },
      { head: "Answer", cell: ({ answer }) => answer },
      { head: "Events", kind: "number", cell: ({ events }) => integer(events) },
      { head: "Last seen", cell: ({ last_seen_at: at }) => moment(at) },
      { head: "State", cell: stateOf },
      { head: "", kind: "acts", cell: (each) => !each.closed_at && button("Close", () => begin(acts.closeIncident(each)), `Close ${each.rule}, ${each.username ?? each.subject}`) },
    ],
    read: async (cursor) => {
      const { incidents: rows, next_cursor: next } = await service.get("/incidents", { all: all ? 1 : null, subject, cursor, limit: AT_ONCE });
      return { rows, next };
    },
  });
  const of = subject ? `&subject=${part(subject)}` : "";
  const links = tabs("Which incidents", [[`#/incidents${of.replace("&", "?")}`, "Open", !all], [`#/incidents?all=1${of}`, "All", all]]);
  return { title: "Incidents", content: [links, subject && el("p.lead", {}, "Of ", el("code", {}, subject), ". ", el("a", { href: "#/incidents" }, "Of all")), el("div.card", {}, list.element)], again: () => list.load() };
}

function stateOf({ closed_at: closed, closed_by: by }) {
  return closed ? chip(by === "time" ? "closed by time" : "closed") : chip("open", "bad");
}

/** @param {import("./common.js").Room} room @param {string} id @returns {import("./common.js").Shown} */
export function incident({ service, acts, begin }, id) {
  const place = el("div.file", {}, el("p.state.loading", {}, "One moment…"));
  const read = async () => {
    try {
      place.replaceChildren(...fileOf(await service.get(`/incidents/${part(id)}`), acts, begin));
    } catch (error) {
      place.replaceChildren(problem(error, read));
    }
  };
  read();
  return { title: "Incident", content: [el("p.lead", {}, el("a", { href: "#/incidents" }, "All incidents")), place], again: read };
}

function fileOf(found, acts, begin) {
  const facts = [
    ["Rule", found.rule], ["Who", subjectOf(found)], ["Answer", found.answer], ["Events", integer(found.events)],
    ["Suspicion", found.suspicion.toFixed(1)], ["Opened", moment(found.opened_at)], ["Last seen", moment(found.last_seen_at)],
    ...(found.closed_at ? [["Closed", [moment(found.closed_at), ` by ${found.closed_by}: ${found.closed_reason}`]]] : []),
  ];
  const known = found.subject_kind === "user" ? { subject_kind: "user", name: found.username } : { subject_kind: "address", subject: found.subject };
  return [
    el("div.card.padded", {},
      el("p.chips", {}, stateOf(found)),
      el("dl.facts", {}, facts.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value)))),
      el("div.choice.start", {},
        !found.closed_at && button("Close", () => begin(acts.closeIncident(found))),
        (known.name || known.subject) && button("Block", () => begin(acts.restrict({ ...known, kind: "block" }))),
        known.name && button("Quarantine", () => begin(acts.restrict({ ...known, kind: "quarantine" }))))),
    section("Evidence", table("What led to it, and what followed first", [
      { head: "When", cell: ({ at }) => moment(new Date(at * 1000).toISOString()) },
      { head: "Event", cell: ({ event }) => event, kind: "wide" },
      { head: "Address", cell: ({ address }) => (address ? el("code", {}, address) : "–") },
      { head: "Player", cell: ({ user_id: user }) => (user ? shortId(user) : "–") },
      { head: "Request", cell: ({ request_id: request }) => el("code", {}, request) },
    ], found.evidence)),
  ];
}
