/**
 * The operators' console: who is signed in, which room is shown, and what was done.
 * @module
 */
import { Acting } from "./admin/acting.js";
import { Acts } from "./admin/acts.js";
import { audit } from "./admin/audit.js";
import { el } from "./admin/dom.js";
import { integer } from "./admin/format.js";
import { glance } from "./admin/glance.js";
import { incident, incidents } from "./admin/incidents.js";
import { letters } from "./admin/letters.js";
import { player } from "./admin/player.js";
import { players } from "./admin/players.js";
import { told } from "./admin/problem.js";
import { held, quarantine } from "./admin/quarantine.js";
import { restrictions } from "./admin/restrictions.js";
import { Service } from "./admin/service.js";
import { Session } from "./admin/session.js";
import { Watcher } from "./admin/watcher.js";

/** The rooms: address, words, what they show, what one thing in them shows, and what of the glance is counted beside. */
const ROOMS = [
  { name: "glance", words: "Pipeline", show: glance },
  { name: "players", words: "Boards and players", show: players, one: player },
  { name: "incidents", words: "Incidents", show: incidents, one: incident, count: "open_incidents" },
  { name: "restrictions", words: "Restrictions", show: restrictions },
  { name: "quarantine", words: "Quarantine", show: quarantine, one: held, count: "held_updates" },
  { name: "letters", words: "Dead letters", show: letters, count: "dead_letters" },
  { name: "audit", words: "Audit log", show: audit },
];

const byId = (id) => document.getElementById(id);

/** The page. */
class Console {
  #session = new Session();
  #service = new Service(this.#session, (error) => this.#signOut(error));
  #watcher = new Watcher(this.#service);
  #acts = new Acts(this.#service);
  #acting = new Acting(byId("act"), byId("said"), () => { this.#shown?.again?.(); this.#watcher.now(); });
  #shown = null;
  #counts = new Map();

  constructor() {
    this.#makeNavigation();
    byId("sign-in").querySelector("form").addEventListener("submit", (event) => { event.preventDefault(); this.#signIn(); });
    window.addEventListener("hashchange", () => this.#session.token && this.#enter());
    this.#watcher.listen(() => this.#sawGlance());
    if (this.#session.token) this.#open(); else this.#close();
  }

  #makeNavigation() {
    for (const { name, words, count } of ROOMS) {
      const badge = count && el("span.badge", { hidden: true });
      if (badge) this.#counts.set(count, badge);
      byId("rooms").append(el("a", { href: `#/${name}` }, words, badge));
    }
    this.#who = el("span.name", {});
    byId("rooms").append(el("div.operator", {}, this.#who, el("button.quiet", { type: "button", click: () => this.#signOut() }, "Sign out")));
  }

  #who;

  /** One call shows whether the token holds, and what it opens. */
  async #signIn() {
    const field = byId("token");
    const button = byId("sign-in").querySelector("button");
    this.#session.keep(field.value.trim());
    button.disabled = true;
    try {
      const first = await this.#service.get("/glance");
      field.value = "";
      this.#open(first);
      byId("content").focus();
    } catch (error) {
      this.#signOut(error);
    } finally {
      button.disabled = false;
    }
  }

  #signOut(error = null) {
    this.#session.forget();
    this.#close();
    byId("refused").replaceChildren(...(error ? told(error) : []));
    byId("refused").hidden = !error;
    byId("token").focus();
  }

  #open(first = null) {
    byId("sign-in").hidden = true;
    byId("rooms").hidden = byId("room").hidden = byId("connection").hidden = false;
    this.#who.textContent = this.#session.name;
    this.#watcher.start(first);
    this.#enter();
  }

  #close() {
    this.#watcher.stop();
    this.#shown?.leave?.();
    this.#shown = null;
    byId("act").close();
    byId("act").replaceChildren();
    byId("said").replaceChildren();
    byId("room").replaceChildren();
    byId("rooms").hidden = byId("room").hidden = byId("connection").hidden = true;
    byId("sign-in").hidden = false;
  }

  /** Shows the room that the address names. */
  #enter() {
    const [path, search = ""] = location.hash.slice(2).split("?");
    const [name, ...rest] = path.split("/");
    const room = ROOMS.find((each) => each.name === name) ?? ROOMS[0];
    const one = room.one && rest.length ? decoded(rest.join("/")) : "";
    const given = {
      service: this.#service, watcher: this.#watcher, acts: this.#acts, begin: (act) => this.#acting.begin(act),
      query: new URLSearchParams(search), choose: (query) => choose(room.name, query),
    };
    const moved = this.#shown !== null;
    this.#shown?.leave?.();
    this.#shown = one ? room.one(given, one) : room.show(given);
    const heading = el("h1", { tabindex: -1 }, this.#shown.title);
    byId("room").replaceChildren(heading, ...this.#shown.content.filter(Boolean));
    document.title = `${this.#shown.title} · Console`;
    for (const link of byId("rooms").querySelectorAll("a")) {
      if (link.getAttribute("href") === `#/${room.name}`) {
        link.setAttribute("aria-current", "page");
        link.scrollIntoView({ block: "nearest", inline: "center" });
      } else link.removeAttribute("aria-current");
    }
    if (moved) { window.scrollTo(0, 0); heading.focus(); }
  }

  #sawGlance() {
    const { looks, error } = this.#watcher;
    const pipeline = looks.at(-1)?.pipeline;
    for (const [member, badge] of this.#counts) {
      badge.hidden = !pipeline?.[member];
      badge.textContent = pipeline?.[member] ? integer(pipeline[member]) : "";
    }
    const failing = Object.values(looks.at(-1)?.parts ?? {}).some(({ status }) => status !== "ok");
    this.#say(error ? ["waiting", "Reconnecting…"] : failing ? ["failed", "Not well"] : ["live", "Live"]);
  }

  #say([state, words]) {
    const pill = byId("connection");
    pill.dataset.state = state;
    const place = pill.querySelector(".words");
    if (place.textContent !== words) place.textContent = words;
  }
}

/** Another choice within a room is another address, so that it can be shared and gone back from. */
function choose(name, query) {
  const wanted = Object.entries(query).filter(([, value]) => value);
  location.hash = `/${name}${wanted.length ? `?${new URLSearchParams(wanted)}` : ""}`;
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text; // somebody typed it
  }
}

new Console(); // eslint-disable-line no-new -- it lives as long as the page
