/**
 * As many redraws as eyes can follow: the first at once, then one for all that came meanwhile.
 * @module
 */

/** Between two redraws; a glide takes twice as long and goes on from where it is. */
const PAUSE_MILLISECONDS = 220;
/** Where redraws are slow, on an old phone say, they may take this share of the time and no more. */
const SHARE_MOST = 1 / 6;
const FRAME_MILLISECONDS = 17;

/**
 * Wraps a redraw so that it runs in an animation frame, and not more often than the pause allows.
 * @param {() => void} redraw
 * @returns {(now?: boolean) => void} asks for a redraw; now: without the pause
 */
export function paced(redraw) {
  let frame = 0;
  let timer = 0;
  let last = -Infinity;
  let pause = PAUSE_MILLISECONDS;

  function run() {
    frame = 0;
    last = performance.now();
    redraw();
    // The next task comes after what the redraw leaves to the browser: style, layout and paint.
    requestAnimationFrame(() => setTimeout(() => {
      pause = Math.max(PAUSE_MILLISECONDS, Math.min(2_000, (performance.now() - last - FRAME_MILLISECONDS) / SHARE_MOST));
    }));
  }

  function nextFrame() {
    clearTimeout(timer);
    timer = 0;
    frame ||= requestAnimationFrame(run);
  }

  return (now = false) => {
    const rest = last + pause - performance.now();
    if (now || rest <= 0) nextFrame();
    else if (!frame) timer ||= setTimeout(nextFrame, rest);
  };
}
