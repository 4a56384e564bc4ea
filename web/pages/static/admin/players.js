/**
 * Boards and players: search by name or id, and each board from the top.
 * @module
 */
import { chip, playerLink, section, tabs } from "./common.js";
import { el } from "./dom.js";
import { integer, moment, shortId } from "./format.js";
import { part } from "./service.js";
import { List } from "./table.js";

const FOUND_AT_ONCE = 25;
const BOARD_AT_ONCE = 25;

/** @param {import("./common.js").Room} room @returns {import("./common.js").Shown} */
export function players({ service, query, choose }) {
  const wanted = query.get("name") ?? "";
  const input = el("input", { id: "name", type: "search", maxlength: 64, spellcheck: "false", autocapitalize: "none", autocomplete: "off", placeholder: "ada" });
  input.value = wanted;
  const form = el("form.search", { role: "search" },
    el("label", { for: "name" }, "Name, or how it begins, or a user id"),
    el("div.field", {}, input, el("button.primary", { type: "submit" }, "Search")));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    choose({ name: input.value.trim() });
  });
  const boards = el("div", {});
  showBoards(service, boards, query);
  return {
    title: "Boards and players",
    content: [
      el("div.card.padded", {}, form, wanted && foundPlayers(service, wanted).element),
      boards,
    ],
  };
}

function foundPlayers(service, name) {
  return new List({
    caption: `Players whose name begins with ${name}`,
    empty: `There is no player whose name begins with “${name}”, nor one of that id.`,
    columns: [
      { head: "Player", cell: ({ username }) => playerLink(username) },
      { head: "State", cell: statesOf },
      { head: "Registered", cell: ({ registered_at: at }) => moment(at) },
      { head: "User id", cell: ({ user_id: id }) => shortId(id) },
    ],
    read: async (cursor) => {
      const { players: rows, next_cursor: next } = await service.get("/players", { name, cursor, limit: FOUND_AT_ONCE });
      return { rows, next };
    },
  });
}

/** @param {any} player @returns {HTMLElement[]|string} */
export function statesOf({ hidden_at: hidden, blocked_since: blocked, erased_at: erased }) {
  const states = [blocked && chip("blocked", "bad"), hidden && chip("hidden", "warn"), erased && chip("erased")].filter(Boolean);
  return states.length ? states : "–";
}

async function showBoards(service, place, query) {
  const { boards } = await service.read("/leaderboards").catch(() => ({ boards: [] })); // each list says what is wrong
  const chosen = boards.find(({ board }) => board === query.get("board")) ?? boards[0];
  if (!chosen) return;
  const links = boards.map(({ board, title }) => [`#/players?board=${part(board)}`, title, board === chosen.board]);
  const list = new List({
    caption: `Players of ${chosen.title} in the order of their scores`,
    empty: "Nobody has a score yet.",
    columns: [
      { head: "Rank", cell: ({ rank }) => integer(rank), kind: "number rank" },
      { head: "Player", cell: ({ username }) => playerLink(username), kind: "wide" },
      { head: "Score", cell: ({ score }) => integer(score), kind: "number" },
      { head: "Reached", cell: ({ reached_at: at }) => moment(at) },
    ],
    read: async (cursor) => {
      const found = await service.read(`/leaderboards/${part(chosen.board)}?limit=${BOARD_AT_ONCE}${cursor ? `&cursor=${part(cursor)}` : ""}`);
      return { rows: found.entries, next: found.next_cursor };
    },
  });
  place.append(section(chosen.title, boards.length > 1 && tabs("Boards", links), list.element));
}
