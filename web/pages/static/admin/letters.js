/**
 * Dead letters: accepted, and impossible to apply. Retried, or dropped.
 * @module
 */
import { chip, playerLink, tabs } from "./common.js";
import { el } from "./dom.js";
import { integer, moment } from "./format.js";
import { part } from "./service.js";
import { List } from "./table.js";

const AT_ONCE = 50;
const CAUSES = {
  action_unknown: "The catalogue lost the action while it waited. Put it back, then retry.",
  score_out_of_range: "The score would leave 64 bits. It belongs here: drop it.",
  apply_failed: "PostgreSQL refused it; the detail has the SQLSTATE. A fault of ours: report it, retry once it is mended.",
  rejected_by_operator: "It was held back in quarantine, and rejected.",
};

/** @param {import("./common.js").Room} room @returns {import("./common.js").Shown} */
export function letters({ service, acts, begin, query }) {
  const dropped = query.get("state") === "dropped";
  const code = query.get("code");
  const player = query.get("player");
  const shown = new Map();
  const chosen = new Set();
  const causes = el("ul.causes", {});
  const count = el("span.asof", { role: "status" });
  const act = (kind, verb) => el("button.quiet", { type: "button", disabled: true, click: () => begin(acts[kind]([...chosen].map((key) => shown.get(key)))) }, verb);
  const buttons = dropped ? [act("retry", "Retry"), act("keep", "Keep")] : [act("retry", "Retry"), act("drop", "Drop")];
  const all = el("input", { type: "checkbox", id: "all", disabled: true, change: () => { boxes().forEach((box) => { box.checked = all.checked; note(box); }); draw(); } });
  const list = new List({
    caption: dropped ? "Dropped dead letters" : "Dead letters that wait, the last parked first",
    empty: dropped ? "None was dropped." : "No dead letter waits.",
    columns: [
      { head: "Chosen", kind: "choose", cell: (letter) => el("input", { type: "checkbox", "data-key": keyOf(letter), "aria-label": `Choose ${letter.action_id} of ${letter.username ?? "nobody"}`, change: ({ target }) => { note(target); draw(); } }) },
      { head: "Parked", cell: ({ parked_at: at }) => moment(at) },
      { head: "Player", cell: ({ username, user_id: id }) => playerLink(username, id) },
      { head: "Update", cell: ({ action, value, action_id: id }) => [el("span.what", {}, `${action} × ${integer(value)}`), el("code.id", { title: id }, id)] },
      {
        head: "Why", kind: "wide", cell: ({ code: cause, detail, attempts, dropped_by: by, dropped_reason: reason }) => [
          chip(cause, "warn"), el("span.detail", {}, ` ${detail}`, attempts ? ` (${attempts} ${attempts === 1 ? "try" : "tries"})` : ""), by && el("span.detail", {}, ` Dropped by ${by}: ${reason}`)],
      },
    ],
    read: async (cursor) => {
      const found = await service.get("/dead-letters", { state: dropped ? "dropped" : null, code, player, cursor, limit: AT_ONCE });
      if (cursor === null) { shown.clear(); chosen.clear(); all.checked = false; showCauses(found.causes); }
      for (const letter of found.letters) shown.set(keyOf(letter), letter);
      return { rows: found.letters, next: found.next_cursor };
    },
    onPage: () => draw(),
  });
  const boxes = () => [...list.element.querySelectorAll("input[data-key]")];
  const note = ({ checked, dataset: { key } }) => (checked ? chosen.add(key) : chosen.delete(key));
  const draw = () => {
    buttons.forEach((button) => { button.disabled = chosen.size === 0; });
    count.textContent = chosen.size ? `${integer(chosen.size)} chosen` : "";
    all.disabled = shown.size === 0;
  };
  const showCauses = (found) => causes.replaceChildren(...found.map(({ code: cause, updates }) => el("li", {},
    el("a", { href: `#/letters?code=${part(cause)}`, "aria-current": cause === code ? "true" : null }, el("strong", {}, integer(updates)), ` ${cause}`),
    el("span.detail", {}, CAUSES[cause] ?? ""))));
  const of = [code && ["cause ", el("code", {}, code)], player && ["player ", playerLink(player)]].filter(Boolean);
  return {
    title: "Dead letters",
    content: [
      tabs("Which dead letters", [["#/letters", "Waiting", !dropped], ["#/letters?state=dropped", "Dropped", dropped]]),
      !dropped && causes,
      of.length > 0 && el("p.lead", {}, "Of ", of.flat(), ". ", el("a", { href: dropped ? "#/letters?state=dropped" : "#/letters" }, "Of all")),
      el("div.card", {}, el("div.tools.inside", {}, el("label.check", { for: "all" }, all, " All shown"), count, el("div.choice", {}, buttons)), list.element),
    ],
    again: () => list.load(),
  };
}

function keyOf({ user_id: user, action_id: action }) {
  return `${user} ${action}`;
}
