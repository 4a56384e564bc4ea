/**
 * What operators can do, in words: each act with what it means and how it is taken back.
 * @module
 */
import { integer } from "./format.js";
import { part } from "./service.js";

/** @typedef {import("./acting.js").Act} Act */

const UNTIL = [["600", "10 minutes"], ["3600", "an hour"], ["86400", "a day"], ["604800", "a week"], ["", "until it is lifted"]];
const KINDS = [["block", "Block: refused everywhere"], ["throttle", "Throttle: a limit of their own"], ["quarantine", "Quarantine: accepted, and held back"]];
/** Letters in one call, as many as it takes. */
const LETTERS_AT_ONCE = 100;

const plural = (count, one, many = `${one}s`) => `${integer(count)} ${Number(count) === 1 ? one : many}`;

/** The acts, through one service. */
export class Acts {
  #service;

  /** @param {import("./service.js").Service} service */
  constructor(service) {
    this.#service = service;
  }

  #player(name, what, body) {
    return this.#service.post(`/players/${part(name)}/${what}`, body);
  }

  /** @param {string} name @returns {Act} */
  hide(name) {
    return {
      title: `Hide ${name}?`, verb: "Hide", explain: "They leave all boards, at once and on every screen. Scores go on counting, and they can be shown again.",
      perform: ({ reason }) => this.#player(name, "hide", { reason }),
      done: ({ changed }) => changed ? `${name} is hidden.` : `${name} was hidden already.`,
      undo: ({ changed }) => changed ? this.show(name) : null,
    };
  }

  /** @param {string} name @returns {Act} */
  show(name) {
    return {
      title: `Show ${name} again?`, verb: "Show", explain: "They come back on all boards with the score of now.",
      perform: ({ reason }) => this.#player(name, "show", { reason }),
      done: ({ changed }) => changed ? `${name} is on the boards again.` : `${name} was not hidden.`,
      undo: ({ changed }) => changed ? this.hide(name) : null,
    };
  }

  /** @param {string} name @param {string[]} actionIds @returns {Act} */
  void(name, actionIds) {
    return {
      title: `Void ${plural(actionIds.length, "update")} of ${name}?`, verb: "Void",
      explain: "What it brought is taken back on every board, as a row of history. It can be restored.",
      perform: ({ reason }) => this.#player(name, "void", { reason, action_ids: actionIds }),
      done: ({ updates }) => `${plural(updates.length, "result")} of ${name} ${updates.length === 1 ? "is" : "are"} void.`,
      undo: ({ updates }) => this.#restoreOf(name, updates),
    };
  }

  /** @param {string} name @param {string[]} actionIds @returns {Act} */
  restore(name, actionIds) {
    return {
      title: `Restore ${plural(actionIds.length, "update")} of ${name}?`, verb: "Restore",
      explain: "It counts again on every board where it was void.",
      perform: ({ reason }) => this.#player(name, "restore", { reason, action_ids: actionIds }),
      done: ({ updates }) => `${plural(updates.length, "result")} of ${name} count${updates.length === 1 ? "s" : ""} again.`,
      undo: ({ updates }) => this.#voidOf(name, updates),
    };
  }

  /** A span of time. @param {string} name @param {"void"|"restore"} what @returns {Act} */
  span(name, what) {
    const isVoid = what === "void";
    return {
      title: isVoid ? `Void a span of ${name}’s?` : `Restore a span of ${name}’s?`, verb: isVoid ? "Void" : "Restore",
      explain: isVoid ? "All that was applied from the one moment on and before the other is taken back. It can be restored."
        : "All that is void from the one moment on and before the other counts again.",
      fields: [
        { name: "since", label: "From (your time)", type: "datetime-local", required: true },
        { name: "until", label: "Until (your time); now when left out", type: "datetime-local" },
      ],
      perform: ({ reason, since, until }) => this.#player(name, what, {
        reason, since: new Date(since).toISOString(), ...(until ? { until: new Date(until).toISOString() } : {}),
      }),
      done: ({ updates }) => isVoid ? `${plural(updates.length, "result")} of ${name} void.` : `${plural(updates.length, "result")} of ${name} restored.`,
      undo: ({ updates }) => isVoid ? this.#restoreOf(name, updates) : this.#voidOf(name, updates),
    };
  }

  /** A call takes a thousand ids; a longer span is taken back as a span. */
  #restoreOf(name, updates) {
    const ids = idsOf(updates);
    return ids.length <= 1_000 ? this.restore(name, ids) : this.span(name, "restore");
  }

  #voidOf(name, updates) {
    const ids = idsOf(updates);
    return ids.length <= 1_000 ? this.void(name, ids) : this.span(name, "void");
  }

  /** @param {string} name @returns {Act} */
  signOut(name) {
    return {
      title: `End all sign-ins of ${name}?`, verb: "End sign-ins", grave: true,
      explain: "Their tokens are refused within a second and their sockets closed. They may sign in again with their key. This cannot be undone.",
      perform: ({ reason }) => this.#player(name, "sign-out", { reason }),
      done: ({ sign_ins: count }) => `${plural(count, "sign-in")} of ${name} ended.`,
    };
  }

  /**
   * Block, throttle or quarantine.
   * @param {{kind?: string, subject_kind?: string, subject?: string, name?: string}} [known] what is not asked for
   * @returns {Act}
   */
  restrict(known = {}) {
    const who = known.name ?? known.subject;
    const words = { block: "Block", quarantine: "Put in quarantine", throttle: "Throttle" };
    const kinds = known.subject_kind === "address" ? KINDS.filter(([kind]) => kind !== "quarantine") : KINDS;
    const fields = [
      !known.subject_kind && { name: "subject_kind", label: "Whom", type: "select", options: [["user", "A player, by name"], ["address", "An address or a network"]] },
      !who && { name: "subject", label: "Name or address", required: true, hint: "ada, 192.0.2.7 or 192.0.2.0/24" },
      !known.kind && { name: "kind", label: "How", type: "select", options: kinds },
      (known.kind ?? "throttle") === "throttle" && {
        name: "throttle_to", label: "To how many", value: "10/minute", hint: "as 1/second or 10/5minute", when: (values) => (known.kind ?? values.kind) === "throttle",
      },
      { name: "seconds", label: "For", type: "select", options: UNTIL, value: "3600" },
    ].filter(Boolean);
    return {
      title: who ? `${words[known.kind] ?? "Restrict"} ${who}?` : "Restrict somebody?", verb: words[known.kind] ?? "Restrict", fields, grave: known.kind === "block",
      explain: "It holds everywhere within a second and ends by itself; it can be lifted before.",
      perform: ({ reason, seconds, throttle_to: limit, ...asked }) => this.#service.post("/restrictions", {
        subject_kind: "user", subject: known.name ?? known.subject, kind: known.kind, ...asked, reason,
        ...(known.subject_kind ? { subject_kind: known.subject_kind } : {}),
        ...(seconds ? { seconds: Number(seconds) } : {}), ...(limit ? { throttle_to: limit } : {}),
      }),
      done: (imposed) => `${imposed.username ?? imposed.subject}: ${imposed.kind} in force.`,
      undo: (imposed) => this.lift(imposed),
    };
  }

  /** @param {any} restriction @returns {Act} */
  lift({ subject_kind: subjectKind, subject, username, kind }) {
    const who = username ?? subject;
    return {
      title: `Lift the ${kind} of ${who}?`, verb: "Lift",
      explain: kind === "quarantine" ? "What comes from now on counts. What is held back stays so until it is released or rejected." : "It ends now, everywhere within a second.",
      perform: ({ reason }) => this.#service.post("/restrictions/lift", { subject_kind: subjectKind, subject: subjectKind === "user" ? username : subject, kind, reason }),
      done: () => `The ${kind} of ${who} is lifted.`,
      undo: () => kind === "throttle" ? null : this.restrict({ kind, subject_kind: subjectKind, subject: who }),
    };
  }

  /** @param {any} incident @returns {Act} */
  closeIncident({ id, rule, username, subject }) {
    return {
      title: "Close this incident?", verb: "Close",
      explain: `${rule}, ${username ?? subject}. What was imposed for it goes on until its end, or until it is lifted; what they do from now on opens another. A closed one stays closed.`,
      perform: ({ reason }) => this.#service.post(`/incidents/${part(id)}/close`, { reason }),
      done: () => "The incident is closed.",
    };
  }

  /** @param {string} name @returns {Act} */
  release(name) {
    return {
      title: `Release what is held back of ${name}?`, verb: "Release", grave: true,
      explain: "Their quarantine ends, and all that was held back counts. This cannot be undone as a whole; updates can be voided.",
      perform: ({ reason }) => this.#service.post(`/quarantine/${part(name)}/release`, { reason }),
      done: ({ updates }) => `${plural(updates, "update")} of ${name} released.`,
    };
  }

  /** @param {string} name @returns {Act} */
  reject(name) {
    return {
      title: `Reject what is held back of ${name}?`, verb: "Reject", grave: true,
      explain: "None of it counts, and the player is told so with your reason. The quarantine goes on. Each update can be retried later, among the dropped dead letters.",
      perform: ({ reason }) => this.#service.post(`/quarantine/${part(name)}/reject`, { reason }),
      done: ({ updates }) => `${plural(updates, "update")} of ${name} rejected.`,
    };
  }

  /** @param {any[]} letters @returns {Act} */
  retry(letters) {
    return {
      title: `Retry ${plural(letters.length, "dead letter")}?`, verb: "Retry",
      explain: "Each goes back into the inbox under its own id and counts once at most. Players who were told rejected are told applied from then on. What cannot be applied comes back here.",
      perform: ({ reason }) => this.#letters("retry", letters, reason),
      done: (done) => `${plural(done.length, "update")} tried again.`,
    };
  }

  /** @param {any[]} letters @returns {Act} */
  drop(letters) {
    return {
      title: `Drop ${plural(letters.length, "dead letter")}?`, verb: "Drop",
      explain: "They wait for nobody any more, and stay rejected. They are kept with your reason, among the dropped ones.",
      perform: ({ reason }) => this.#letters("drop", letters, reason),
      done: (done) => `${plural(done.length, "dead letter")} dropped.`,
      undo: (done) => this.keep(done),
    };
  }

  /** @param {any[]} letters @returns {Act} */
  keep(letters) {
    return {
      title: `Have ${plural(letters.length, "dead letter")} wait again?`, verb: "Keep", explain: "The drop is undone.",
      perform: ({ reason }) => this.#letters("keep", letters, reason),
      done: (done) => `${plural(done.length, "dead letter")} wait again.`,
      undo: (done) => this.drop(done),
    };
  }

  async #letters(what, letters, reason) {
    const keys = letters.map(({ user_id, action_id }) => ({ user_id, action_id }));
    const done = [];
    for (let at = 0; at < keys.length; at += LETTERS_AT_ONCE) {
      const answer = await this.#service.post(`/dead-letters/${what}`, { reason, letters: keys.slice(at, at + LETTERS_AT_ONCE) });
      done.push(...answer.letters);
    }
    return done;
  }
}

function idsOf(updates) {
  return [...new Set(updates.map(({ action_id: id }) => id))];
}
