/**
 * The play part: become a player, score, and watch the action on its way.
 * @module
 */
import { formatInteger } from "../scoreboard.js";
import { Journey } from "./steps.js";

const KEY = "scoreboard.player";
const VALUE_MOST = 5;
const WAIT_SECONDS = 5;
const NAMES = { level_complete: "Level complete", boss_defeated: "Boss defeated" };

/** What a tab keeps of its player; the tab's end forgets it, and so does a browser that forbids storage. */
export const kept = {
  load() {
    try {
      return JSON.parse(sessionStorage.getItem(KEY) ?? "null");
    } catch (error) {
      console.info("No player could be restored:", error.message);
      return null;
    }
  },
  save(player) {
    try {
      if (player) sessionStorage.setItem(KEY, JSON.stringify(player));
      else sessionStorage.removeItem(KEY);
    } catch (error) {
      console.info("The player is known to this page alone:", error.message);
    }
  },
};

/** The play card. */
export class Play {
  #scoreboard;
  #root;
  #action = null;
  #board = "";
  #journey = null;
  #sightings = [];
  #onPlayer;

  /**
   * @param {HTMLElement} root
   * @param {import("../scoreboard.js").Scoreboard} scoreboard
   * @param {() => void} onPlayer told when somebody begins or ends playing
   */
  constructor(root, scoreboard, onPlayer) {
    this.#root = root;
    this.#scoreboard = scoreboard;
    this.#onPlayer = onPlayer;
    this.#part("form").addEventListener("submit", (event) => { event.preventDefault(); this.#join(); });
    this.#part(".act").addEventListener("click", (event) => this.#act(event.timeStamp));
    this.#part(".leave").addEventListener("click", () => this.#leave());
    this.#draw();
  }

  /**
   * Plays for this board from now on.
   * @param {{board: string, actions: {action: string, points: number, value_least: number, value_most: number, cooldown_seconds: number}[]}} board
   */
  playFor({ board, actions }) {
    const fit = actions.filter(({ points, cooldown_seconds: rest }) => points > 0 && rest === 0);
    this.#action = fit.find(({ action }) => action === "level_complete") ?? fit[0] ?? null;
    this.#board = board;
    this.#draw();
  }

  /**
   * The player's score is on the board.
   * @param {number|bigint|null} score
   */
  sawScore(score) {
    if (score === null) return;
    this.#sightings = [...this.#sightings.slice(-20), { score, at: performance.now() }];
    this.#arrive();
  }

  /** The socket says that an action counts now. */
  sawApplied(outcome) {
    if (this.#journey?.actionId === outcome.action_id) this.#apply(this.#journey, outcome);
  }

  async #join() {
    const field = this.#part("#name");
    const button = this.#part("form button");
    const name = field.value.trim();
    this.#fail("");
    button.disabled = true;
    try {
      await this.#scoreboard.register(name, `${name}@example.com`);
    } catch (error) {
      this.#fail(error.code === "already_exists" ? "That name is taken. Try another one." : sentenceOf(error));
      field.focus();
      return;
    } finally {
      button.disabled = false;
    }
    this.#draw();
    this.#onPlayer();
    this.#part(".act").focus();
  }

  async #leave() {
    this.#journey?.leave();
    this.#sightings = [];
    const leaving = this.#scoreboard.logout();
    this.#draw();
    this.#onPlayer();
    this.#part("#name").focus();
    await leaving.catch((error) => console.info("The tokens run out by themselves:", error.message));
  }

  async #act(startedAt) {
    this.#fail("");
    this.#journey?.leave();
    const journey = new Journey(this.#part(".steps"), this.#part(".total"), startedAt);
    this.#journey = journey;
    const { action, value_least: least, value_most: most } = this.#action;
    const value = least + Math.floor(Math.random() * (Math.min(most, VALUE_MOST) - least + 1));
    try {
      const outcome = await this.#scoreboard.submit(action, {
        value, wait: WAIT_SECONDS, actionId: journey.actionId, onStep: (step) => tell(journey, step),
      });
      this.#answered(journey, outcome);
    } catch (error) {
      journey.note("stopped here", true);
      this.#refused(error);
    }
  }

  #answered(journey, outcome) {
    const status = outcome.status === "queued" ? 202 : 200;
    journey.done("accepted", `committed · ${status} after ${journey.elapsed()}`);
    if (outcome.status === "rejected") journey.note(outcome.detail ?? outcome.code, true);
    if (outcome.status === "applied") this.#apply(journey, outcome);
  }

  /** By the socket or by the answer, whichever comes first. */
  #apply(journey, outcome) {
    if (journey.applied) return;
    journey.applied = outcome;
    const result = this.#resultHere(outcome) ?? outcome.results[0];
    const gain = formatInteger(result.score_increment, { signed: true });
    const rank = result.rank ? `, rank ${formatInteger(result.rank)}` : "";
    if (!journey.isDone("accepted")) journey.done("accepted", "committed");
    journey.done("applied", `${gain}${rank} · ${journey.elapsed(this.#sighting(journey)?.at)}`);
    this.#arrive();
  }

  #arrive() {
    const journey = this.#journey;
    const sighting = journey?.applied && this.#sighting(journey);
    if (!sighting || journey.isDone("seen")) return;
    const elapsed = journey.elapsed(sighting.at);
    journey.done("seen", elapsed);
    journey.finish(sighting.at);
    const gain = formatInteger(this.#resultHere(journey.applied).score_increment, { signed: true });
    this.#part(".said").textContent = `${gain} points, on the board after ${elapsed}.`;
  }

  #resultHere(outcome) {
    return outcome.results.find(({ board }) => board === this.#board);
  }

  /** When the board showed the score that the action led to: often before its answer came. */
  #sighting(journey) {
    const result = this.#resultHere(journey.applied);
    return result && this.#sightings.find(({ score, at }) => at >= journey.startedAt && score >= result.new_score);
  }

  #refused(error) {
    if (error.status === 401 || error.code === "signature_invalid") {
      this.#scoreboard.forget();
      this.#draw();
      this.#onPlayer();
      this.#fail("This service does not know you any more. Choose a name again.");
    } else {
      this.#fail(sentenceOf(error));
    }
  }

  #draw() {
    const { player } = this.#scoreboard;
    this.#part("form").hidden = player !== null;
    this.#part(".playing").hidden = player === null;
    this.#part(".who").textContent = player?.username ?? "";
    this.#part(".act").disabled = this.#action === null;
    this.#part(".act .what").textContent = this.#action ? nameOf(this.#action.action) : "Nothing to play here";
    this.#part(".act .worth").textContent = this.#action ? worthOf(this.#action) : "";
  }

  #fail(sentence) {
    const element = this.#part(".failure");
    element.textContent = sentence;
    element.hidden = sentence === "";
  }

  #part(selector) {
    return this.#root.querySelector(selector);
  }
}

function tell(journey, { name, attempt, pause }) {
  if (name === "signed" && attempt === 0) journey.done("signed", `HMAC-SHA256 · ${journey.elapsed()}`);
  if (name === "retrying") journey.note(`not answered; again in ${formatInteger(Math.round(pause / 100) / 10)} s`);
}

function nameOf(action) {
  return NAMES[action] ?? action.replaceAll("_", " ").replace(/^./, (letter) => letter.toUpperCase());
}

function worthOf({ points, value_least: least, value_most: most }) {
  const lowest = formatInteger(points * least, { signed: true });
  const highest = formatInteger(points * Math.min(most, VALUE_MOST), { signed: true });
  return lowest === highest ? `${lowest} points` : `${lowest} to ${highest} points`;
}

function sentenceOf(error) {
  const faults = (error.errors ?? []).map(({ pointer, message }) => `${pointer.replace("/", "")} ${message}`);
  return faults.length ? `${faults.join("; ")}.` : error.message;
}
