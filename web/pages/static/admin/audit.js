/**
 * What operators and rules did, and the seals over it.
 * @module
 */
import { playerLink, section } from "./common.js";
import { el } from "./dom.js";
import { ago, integer, moment, shortId } from "./format.js";
import { part } from "./service.js";
import { problem } from "./problem.js";
import { List } from "./table.js";

const AT_ONCE = 50;
/** Name, words, and an example of each. */
const FILTERS = [["subject", "To whom", "user id, address or incident"], ["operator", "Who", "token ada"], ["act", "What, as it begins", "block"]];

/** @param {import("./common.js").Room} room @returns {import("./common.js").Shown} */
export function audit({ service, query, choose }) {
  const inputs = FILTERS.map(([name, , example]) => {
    const input = el("input", { id: `f-${name}`, name, type: "search", maxlength: 200, placeholder: example, spellcheck: "false", autocapitalize: "none", autocomplete: "off" });
    input.value = query.get(name) ?? "";
    return input;
  });
  const form = el("form.filters", { role: "search" }, FILTERS.map(([name, words], at) => el("div.asked", {}, el("label", { for: `f-${name}` }, words), inputs[at])),
    el("button.primary", { type: "submit" }, "Filter"));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    choose(Object.fromEntries(inputs.map(({ name, value }) => [name, value.trim()])));
  });
  const list = new List({
    caption: "Acts, the newest first",
    empty: "Nothing of that kind was done.",
    columns: [
      { head: "When", cell: ({ created_at: at }) => moment(at) },
      { head: "Who", cell: ({ operator }) => operator },
      { head: "What", cell: ({ act }) => act },
      { head: "To whom", cell: whom },
      { head: "Why", kind: "wide", cell: ({ reason, details }) => [reason, Object.keys(details).length > 0 && el("details", {}, el("summary", {}, "Details"), el("pre", {}, JSON.stringify(details, plain, 1)))] },
    ],
    read: async (cursor) => {
      const wanted = Object.fromEntries(FILTERS.map(([name]) => [name, query.get(name)]));
      const { acts: rows, next_cursor: next } = await service.get("/acts", { ...wanted, cursor, limit: AT_ONCE });
      return { rows, next };
    },
  });
  const seal = el("div", {});
  readSeal(service, seal);
  return {
    title: "Audit log",
    content: [seal, el("div.card.padded", {}, form), el("div.card", {}, list.element)],
    again: () => { list.load(); readSeal(service, seal); },
  };
}

function whom({ subject, username, act }) {
  if (username) return playerLink(username);
  return act.includes("incident") ? el("a", { href: `#/incidents/${part(subject)}` }, shortId(subject)) : shortId(subject);
}

function plain(_name, value) {
  return typeof value === "bigint" ? String(value) : value;
}

async function readSeal(service, place) {
  try {
    const { seals: [last] } = await service.get("/seals", { limit: 1 });
    place.replaceChildren(last ? sealed(last) : el("p.lead", {}, "Nothing was sealed yet: a worker does so every five seconds once there is something."));
  } catch (error) {
    place.replaceChildren(problem(error, () => readSeal(service, place)));
  }
}

function sealed({ number, rows, upto, sealed_at: at, hash }) {
  return section("Last seal",
    el("dl.facts", {},
      el("div", {}, el("dt", {}, "Number"), el("dd", {}, integer(number))),
      el("div", {}, el("dt", {}, "Made"), el("dd", {}, moment(at), ` (${ago(at)})`)),
      el("div", {}, el("dt", {}, "Over"), el("dd", {}, `${integer(rows)} rows, up to `, moment(upto))),
      el("div.wide", {}, el("dt", {}, "Hash"), el("dd", {}, el("code.whole", {}, hash)))),
    el("p.lead", {}, "Keep it elsewhere. ", el("code", {}, "flask --app web audit verify --anchor number:hash"), " shows that nothing before it was changed or taken away."));
}
