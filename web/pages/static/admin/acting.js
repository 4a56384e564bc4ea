/**
 * Every act: what it does is said, a reason is asked for, and where it can be undone that is offered.
 * @module
 */
import { el } from "./dom.js";
import { told } from "./problem.js";

/** How long a way back is offered in the corner; it can be undone later as well, where the thing itself is shown. */
const OFFER_MILLISECONDS = 20_000;

/**
 * @typedef {object} Field
 * @property {string} name
 * @property {string} label
 * @property {string} [type] of an input, or `select`
 * @property {[string, string][]} [options] values and words of a select
 * @property {string} [value]
 * @property {boolean} [required]
 * @property {string} [hint]
 * @property {(values: Record<string, string>) => boolean} [when] whether it is asked for at all
 *
 * @typedef {object} Act
 * @property {string} title a question
 * @property {string} explain what will happen
 * @property {string} verb on the button
 * @property {boolean} [grave] it cannot be undone, or hurts somebody
 * @property {string} [reason] what stands in the field at first
 * @property {Field[]} [fields]
 * @property {(values: Record<string, string>) => Promise<any>} perform gets `reason` and the fields' values
 * @property {(answer: any, values: Record<string, string>) => string} done a sentence
 * @property {(answer: any, values: Record<string, string>) => Act|null} [undo] the act that takes it back
 */

/** The dialog, and the word in the corner. */
export class Acting {
  #dialog;
  #said;
  #after;
  #timer = 0;

  /**
   * @param {HTMLDialogElement} dialog
   * @param {HTMLElement} said
   * @param {() => void} after called when something was done
   */
  constructor(dialog, said, after) {
    this.#dialog = dialog;
    this.#said = said;
    this.#after = after;
  }

  /** Asks for an act, and does it. @param {Act} act */
  begin(act) {
    const reason = el("textarea", { id: "act-reason", name: "reason", required: true, maxlength: 1000, rows: 2, "aria-describedby": "act-kept" });
    reason.value = act.reason ?? "";
    const fields = (act.fields ?? []).map(fieldOf);
    const failure = el("div.problem", { role: "alert", hidden: true });
    const go = el(act.grave ? "button.grave" : "button.primary", { type: "submit" }, act.verb);
    const form = el("form", { method: "dialog", novalidate: false, autocomplete: "off" },
      el("h2", { id: "act-title" }, act.title),
      el("p.explain", {}, act.explain),
      fields.map(({ element }) => element),
      el("div.asked", {},
        el("label", { for: "act-reason" }, "Reason"), reason,
        el("p.hint", { id: "act-kept" }, "Kept for good, under your token’s name, and sealed.")),
      failure,
      el("div.choice", {}, el("button.quiet", { type: "button", click: () => this.#dialog.close() }, "Cancel"), go));
    const values = () => Object.fromEntries(new FormData(form));
    const adapt = () => fields.forEach(({ element, when }) => {
      element.hidden = when ? !when(values()) : false;
      element.querySelectorAll("input, select").forEach((input) => { input.disabled = element.hidden; });
    });
    form.addEventListener("input", adapt);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#perform(act, values(), go, failure);
    });
    this.#dialog.replaceChildren(form);
    this.#dialog.showModal();
    adapt();
    (fields.length ? form.querySelector("input, select") : reason).focus();
  }

  /** Says a sentence in the corner. @param {string} sentence @param {Act|null} [undo] */
  say(sentence, undo = null) {
    clearTimeout(this.#timer);
    const close = el("button.icon", { type: "button", "aria-label": "Close", click: () => this.#hush() }, "×");
    const back = undo && el("button.quiet", { type: "button", click: () => { this.#hush(); this.begin(undo); } }, "Undo");
    this.#said.replaceChildren(el("div.word", {}, el("p", {}, sentence), back, close));
    this.#timer = setTimeout(() => this.#hush(), OFFER_MILLISECONDS);
  }

  #hush() {
    clearTimeout(this.#timer);
    this.#said.replaceChildren();
  }

  async #perform(act, values, go, failure) {
    const wanted = { ...values, reason: values.reason.trim() };
    go.disabled = true;
    failure.hidden = true;
    let answer;
    try {
      answer = await act.perform(wanted);
    } catch (error) {
      failure.replaceChildren(...told(error));
      failure.hidden = false;
      return;
    } finally {
      go.disabled = false;
    }
    this.#dialog.close();
    const undo = act.undo?.(answer, wanted) ?? null;
    this.say(act.done(answer, wanted), undo && { reason: `undo: ${wanted.reason}`, ...undo });
    this.#after();
  }
}

function fieldOf({ name, label, type = "text", options, value = "", required = false, hint, when }) {
  const id = `act-${name}`;
  const input = type === "select"
    ? el("select", { id, name }, options.map(([each, words]) => el("option", { value: each }, words)))
    : el("input", { id, name, type, required, step: type === "datetime-local" ? 1 : null, spellcheck: "false", autocapitalize: "none" });
  if (value) input.value = value;
  const element = el("div.asked", {}, el("label", { for: id }, label), input, hint && el("p.hint", {}, hint));
  return { element, when };
}
