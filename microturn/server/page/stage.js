/** The timeline on the screen: moves with the clock, can be pulled back into the past, and comes back to now. */
import { Drawing } from "./draw.js";
import { TURN_MS, Timeline } from "./timeline.js";
import { element } from "./view.js";

const WIDE = { pixelsPerMs: 0.096, anchor: 0.86 };
const NARROW = { pixelsPerMs: 0.07, anchor: 0.78 };
const NARROW_PIXELS = 720;
const STEP_MS = 1000;
const EVERY_MS = 30; // The model may be computing on the same machine.

export class Stage {
  /** @param {() => number} nowMs the session's clock; 0 before it began */
  constructor(nowMs) {
    this.nowMs = nowMs;
    this.live = false;
    this.backMs = 0; // How far the view is pulled back from now.
    this.place = element("stage");
    this.drawing = new Drawing(element("timeline"));
    this.timeline = new Timeline((text) => this.drawing.widthOf(text), this.#view.pixelsPerMs);
    this.calm = matchMedia("(prefers-reduced-motion: reduce)");
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
      this.drawing.refresh();
      this.drawn = "";
    });
    addEventListener("resize", () => this.timeline.rescale(this.#view.pixelsPerMs));
    this.#listen();
    let lastMs = 0;
    const frame = (ms) => {
      requestAnimationFrame(frame);
      if (ms - lastMs < EVERY_MS) return;
      lastMs = ms;
      this.#draw();
    };
    requestAnimationFrame(frame);
  }

  get #view() {
    return innerWidth < NARROW_PIXELS ? NARROW : WIDE;
  }

  #draw() {
    // Who asked for less motion sees a step a turn instead of a stream.
    const nowMs = this.calm.matches ? Math.floor(this.nowMs() / TURN_MS) * TURN_MS : this.nowMs();
    const { anchor, pixelsPerMs } = this.#view;
    // A session fills the screen from the left before anything moves.
    const screenMs = (this.place.clientWidth * anchor - 96) / pixelsPerMs;
    const seenMs = Math.max(nowMs - this.backMs, screenMs);
    element("now").hidden = nowMs - this.backMs >= nowMs || nowMs < screenMs;
    // What looks the same is not drawn again: a page that waits costs nothing.
    const { clientWidth, clientHeight } = this.place;
    const picture = [nowMs, seenMs, clientWidth, clientHeight, this.live].join();
    if (picture === this.drawn) return;
    this.drawn = picture;
    this.drawing.draw(this.timeline, { nowMs, seenMs, anchor, live: this.live });
  }

  pull(ms) {
    this.backMs = Math.max(0, Math.min(this.backMs + ms, this.nowMs()));
  }

  #listen() {
    const { place } = this;
    let pulledFrom;
    place.addEventListener("pointerdown", (event) => {
      if (event.target.closest("button")) return;
      pulledFrom = event.clientX;
      place.setPointerCapture(event.pointerId);
    });
    place.addEventListener("pointermove", (event) => {
      if (pulledFrom === undefined) return;
      this.pull((event.clientX - pulledFrom) / this.timeline.pixelsPerMs);
      pulledFrom = event.clientX;
    });
    for (const end of ["pointerup", "pointercancel"]) place.addEventListener(end, () => (pulledFrom = undefined));
    place.addEventListener("wheel", (event) => {
      if (Math.abs(event.deltaX) <= Math.abs(event.deltaY)) return;
      event.preventDefault();
      this.pull(-event.deltaX / this.timeline.pixelsPerMs);
    }, { passive: false });
    place.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: STEP_MS, ArrowRight: -STEP_MS, PageUp: 5 * STEP_MS, PageDown: -5 * STEP_MS }[event.key];
      if (event.target !== place || (step === undefined && event.key !== "End")) return;
      event.preventDefault();
      this.pull(step ?? -Infinity);
    });
    element("now").addEventListener("click", () => {
      this.backMs = 0;
      place.focus();
    });
  }
}
