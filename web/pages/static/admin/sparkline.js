/**
 * A small line of how a figure went; decoration, the figure itself stands beside it.
 * @module
 */
import { svg } from "./dom.js";

const WIDTH = 160;
const HEIGHT = 36;

/** One line, drawn anew as values come. */
export class Sparkline {
  element;
  #line = svg("path", { class: "line" });
  #area = svg("path", { class: "area" });

  constructor() {
    this.element = svg("svg", {
      class: "spark", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true", focusable: "false",
    }, this.#area, this.#line);
  }

  /**
   * @param {(number|null)[]} values in the order of time; null where nothing is known
   * @param {number} room for how many there is
   */
  draw(values, room) {
    const most = Math.max(...values.map((value) => value ?? 0), Number.MIN_VALUE);
    const step = WIDTH / (room - 1);
    const points = values.map((value, at) => value === null ? null
      : [WIDTH - (values.length - 1 - at) * step, HEIGHT - 2 - (value / most) * (HEIGHT - 5)]);
    const runs = runsOf(points);
    this.#line.setAttribute("d", runs.map((run) => `M${run.map(at).join("L")}`).join(""));
    this.#area.setAttribute("d", runs.filter((run) => run.length > 1)
      .map((run) => `M${run[0][0].toFixed(1)},${HEIGHT}L${run.map(at).join("L")}L${run.at(-1)[0].toFixed(1)},${HEIGHT}Z`).join(""));
  }
}

function at([x, y]) {
  return `${x.toFixed(1)},${y.toFixed(1)}`;
}

/** The stretches without a gap. */
function runsOf(points) {
  const runs = [[]];
  for (const point of points) {
    if (point === null) runs.push([]);
    else runs.at(-1).push(point);
  }
  return runs.filter((run) => run.length);
}
