/** Draws the timeline on a canvas: the user above, the model below, the turns between them, compute and clock at the foot. */
import { BIN_MS, TURN_MS, TYPED_FRAME, clockText } from "./timeline.js";

const PICTURES = 48;
const WORD_ROW = 21;
const SPINE = 8;
const COMPUTE = 34;
const AXIS = 24;
const PAD = 10;
const JOB_ROW = 5;
const MOST_JOB_ROWS = 4;
const QUIETEST = 0.12; // A voice fills its lane with its loudest moment, unless that is as quiet as noise.

/** Where each lane lies, from top to bottom. */
export function lanes(height, hasPictures) {
  const pictures = hasPictures ? PICTURES + PAD : 0;
  const fixed = pictures + 4 * WORD_ROW + SPINE + COMPUTE + AXIS + 4.5 * PAD;
  const wave = Math.max(28, (height - fixed) / 2);
  const at = { pictures: PAD / 2, pictureHeight: PICTURES, wave };
  at.heard = pictures + 2 * WORD_ROW + PAD / 2; // Foot of the heard words.
  at.user = at.heard + PAD / 2 + wave / 2;
  at.spine = at.user + wave / 2 + PAD;
  at.model = at.spine + SPINE + PAD + wave / 2;
  at.said = at.model + wave / 2 + PAD / 2; // Head of the said words.
  at.deadline = at.said + 2 * WORD_ROW + PAD;
  at.axis = at.deadline + COMPUTE;
  return at;
}

export class Drawing {
  /** @param {HTMLCanvasElement} canvas */
  constructor(canvas) {
    this.canvas = canvas;
    this.pen = canvas.getContext("2d");
    this.refresh();
  }

  /** Read colours and font anew from the style sheet. */
  refresh() {
    const style = getComputedStyle(this.canvas);
    const colour = (name) => style.getPropertyValue(`--${name}`).trim();
    this.colours = Object.fromEntries(["ink", "soft", "line", "paper", "accent", "rest"].map((one) => [one, colour(one)]));
    this.font = `500 13px ${style.fontFamily}`;
    this.small = `400 11px ${style.fontFamily}`;
  }

  widthOf(text) {
    this.pen.font = this.font;
    return this.pen.measureText(text).width;
  }

  /** One picture of the last stretch before ``nowMs``; ``anchor`` is the share of the width at which it lies. */
  draw(timeline, { nowMs, seenMs, anchor, live }) {
    const { canvas, pen } = this;
    const density = devicePixelRatio || 1;
    const width = canvas.clientWidth;
    const height = canvas.clientHeight;
    if (canvas.width !== Math.round(width * density) || canvas.height !== Math.round(height * density)) {
      canvas.width = Math.round(width * density);
      canvas.height = Math.round(height * density);
    }
    pen.setTransform(density, 0, 0, density, 0, 0);
    pen.clearRect(0, 0, width, height);
    this.width = width;
    this.scale = timeline.pixelsPerMs;
    this.fromMs = seenMs - (width * anchor) / this.scale;
    this.toMs = this.fromMs + width / this.scale;
    this.at = lanes(height, timeline.pictures.length > 0);
    this.#axis(nowMs);
    this.#turns(timeline);
    this.#jobs(timeline, nowMs);
    this.#wave(timeline.microphone, this.at.user, this.colours.ink, nowMs);
    this.#wave(timeline.voice, this.at.model, this.colours.accent, nowMs);
    this.#words(timeline);
    this.#reactions(timeline);
    this.#pictures(timeline);
    this.#labels(nowMs, live);
  }

  x(ms) {
    return (ms - this.fromMs) * this.scale;
  }

  #axis(nowMs) {
    const { pen, at } = this;
    const secondPx = 1000 * this.scale;
    const everyS = secondPx > 56 ? 1 : secondPx > 24 ? 2 : 5;
    pen.font = this.small;
    pen.textAlign = "center";
    pen.textBaseline = "alphabetic";
    for (let second = Math.max(0, Math.floor(this.fromMs / 1000)); second * 1000 <= this.toMs; second++) {
      const x = Math.round(this.x(second * 1000)) + 0.5;
      pen.fillStyle = this.colours.line;
      pen.fillRect(x - 0.5, at.heard - 2 * WORD_ROW, 1, at.axis - at.heard + 2 * WORD_ROW);
      pen.fillStyle = second * 1000 <= nowMs ? this.colours.soft : this.colours.rest;
      if (second % everyS === 0) pen.fillText(clockText(second * 1000), x, at.axis + 17);
    }
    const start = Math.max(0, this.x(0));
    pen.fillStyle = this.colours.rest;
    pen.fillRect(start, at.axis, this.width - start, 1);
    for (const y of [at.user, at.model]) pen.fillRect(start, Math.round(y), Math.max(0, this.x(nowMs) - start), 1);
  }

  #turns(timeline) {
    const { pen, at } = this;
    const first = Math.max(0, Math.floor(this.fromMs / TURN_MS) - 1);
    for (let index = first; index * TURN_MS < this.toMs; index++) {
      const turn = timeline.turns.get(index);
      if (!turn) continue;
      // What goes out of a turn is heard one turn later, so that is where it lies.
      const x = this.x((index + 1) * TURN_MS);
      const width = TURN_MS * this.scale;
      pen.fillStyle = turn.speaking ? this.colours.accent : this.colours.rest;
      pen.beginPath();
      pen.roundRect(x + 1, at.spine, width - 2, SPINE, 2);
      pen.fill();
      if (turn.gap) this.#gap(this.x(index * TURN_MS), width);
      if (turn.act) this.#act(turn.act, x);
      this.#compute(turn, this.x(index * TURN_MS), width);
    }
    pen.fillStyle = this.colours.rest;
    for (let x = Math.max(0, this.x(0)); x < this.width; x += 6) pen.fillRect(x, at.deadline, 2, 1);
  }

  #gap(x, width) {
    const { pen, at } = this;
    const top = at.user - at.wave / 2;
    pen.save();
    pen.beginPath();
    pen.rect(x, top, width, at.wave);
    pen.clip();
    pen.strokeStyle = this.colours.rest;
    pen.beginPath();
    const slant = at.wave;
    const step = 7;
    for (let line = Math.floor((x - slant - this.x(0)) / step) * step + this.x(0); line < x + width; line += step) {
      pen.moveTo(line, top + at.wave);
      pen.lineTo(line + slant, top);
    }
    pen.stroke();
    pen.restore();
  }

  #act(act, x) {
    const { pen, at } = this;
    const y = at.spine + SPINE / 2;
    pen.fillStyle = this.colours.ink;
    pen.beginPath();
    pen.moveTo(x, y - 7);
    pen.lineTo(x + 7, y);
    pen.lineTo(x, y + 7);
    pen.lineTo(x - 7, y);
    pen.fill();
    pen.font = this.small;
    pen.textAlign = "left";
    pen.fillText(act, x + 10, y - 8);
  }

  /** Jobs as bars under the words that the model says: from when they began until they are over. */
  #jobs(timeline, nowMs) {
    const { pen, at } = this;
    for (const { state, task, fromMs, toMs = nowMs, level } of timeline.jobs.values()) {
      if (toMs < this.fromMs || fromMs > this.toMs || level >= MOST_JOB_ROWS) continue;
      const y = at.deadline - PAD - (level + 1) * JOB_ROW;
      pen.fillStyle = state === "running" ? this.colours.accent : state === "done" ? this.colours.soft : this.colours.rest;
      pen.beginPath();
      pen.roundRect(this.x(fromMs), y, Math.max(3, (toMs - fromMs) * this.scale), 3, 1.5);
      pen.fill();
      if (level) continue;
      pen.font = this.small;
      pen.textAlign = "left";
      pen.fillStyle = this.colours.soft;
      pen.fillText(`${task.slice(0, 40)}${state === "running" ? "" : `: ${state}`}`, this.x(fromMs), y - 4 - (MOST_JOB_ROWS - 1) * JOB_ROW);
    }
  }

  #compute({ compute_ms, margin_ms }, x, width) {
    const { pen, at } = this;
    const tall = Math.min(1, compute_ms / TURN_MS) * (at.axis - at.deadline);
    pen.fillStyle = margin_ms < 0 ? this.colours.accent : this.colours.soft;
    pen.fillRect(x + 1, at.axis - Math.max(1, tall), Math.max(1, width - 2), Math.max(1, tall));
  }

  #wave(levels, y, colour, nowMs) {
    const { pen } = this;
    const first = Math.max(0, Math.floor(this.fromMs / BIN_MS));
    const last = Math.ceil(Math.min(this.toMs, nowMs) / BIN_MS);
    const tall = this.at.wave / 2 / Math.max(QUIETEST, levels.loudest(this.fromMs, this.toMs));
    // On a narrow screen a pixel holds several bins: it shows the loudest.
    const step = Math.max(1, Math.floor(0.8 / (BIN_MS * this.scale)));
    const top = [];
    for (let bin = Math.floor(first / step) * step; bin < last; bin += step) {
      let peak = 0;
      for (let k = 0; k < step; k++) peak = Math.max(peak, levels.at(bin + k));
      top.push([this.x((bin + step / 2) * BIN_MS), Math.max(0.5, peak * tall)]);
    }
    if (!top.length) return;
    pen.fillStyle = colour;
    pen.beginPath();
    pen.moveTo(top[0][0], y);
    for (const [x, half] of top) pen.lineTo(x, y - half);
    for (const [x, half] of top.reverse()) pen.lineTo(x, y + half);
    pen.fill();
  }

  #words(timeline) {
    const { pen, at } = this;
    pen.font = this.font;
    pen.textAlign = "left";
    pen.textBaseline = "alphabetic";
    const put = (lane, colour, yOf) => {
      for (const word of timeline.words[lane]) {
        if (word.endMs < this.fromMs || word.startMs > this.toMs) continue;
        pen.fillStyle = colour;
        pen.fillText(word.text, this.x(word.startMs), yOf(word.level));
      }
    };
    put("heard", this.colours.ink, (level) => at.heard - 6 - level * WORD_ROW);
    put("said", this.colours.accent, (level) => at.said + 15 + level * WORD_ROW);
    for (const word of timeline.words.typed) {
      if (word.endMs < this.fromMs || word.startMs > this.toMs) continue;
      const x = this.x(word.startMs);
      const y = at.heard - 6 - word.level * WORD_ROW;
      pen.fillStyle = this.colours.paper;
      pen.strokeStyle = this.colours.soft;
      pen.beginPath();
      pen.roundRect(x, y - 14, this.widthOf(word.text) + TYPED_FRAME, 19, 9.5);
      pen.fill();
      pen.stroke();
      pen.fillStyle = this.colours.ink;
      pen.fillText(word.text, x + TYPED_FRAME / 2, y);
    }
  }

  /** How long after the user's last sound the model's first was heard: a bracket from one voice to the other. */
  #reactions(timeline) {
    const { pen, at } = this;
    pen.font = this.small;
    pen.strokeStyle = this.colours.accent;
    for (const { fromMs, toMs } of timeline.reactions) {
      if (toMs < this.fromMs || fromMs > this.toMs) continue;
      const y = Math.round(at.spine + SPINE + 6) + 0.5;
      pen.beginPath();
      pen.moveTo(this.x(fromMs), at.spine + SPINE + 1);
      pen.lineTo(this.x(fromMs), y);
      pen.lineTo(this.x(toMs), y);
      pen.lineTo(this.x(toMs), y + 5);
      pen.stroke();
      pen.fillStyle = this.colours.accent;
      pen.textAlign = "right";
      pen.fillText(`${((toMs - fromMs) / 1000).toFixed(2)} s`, this.x(fromMs) - 5, y + 6);
    }
  }

  #pictures(timeline) {
    const { pen, at } = this;
    for (const { ms, image } of timeline.pictures) {
      const width = (at.pictureHeight * image.width) / image.height;
      const x = this.x(ms) - width;
      if (x + width < 0 || x > this.width) continue;
      pen.drawImage(image, x, at.pictures, width, at.pictureHeight);
    }
  }

  #labels(nowMs, live) {
    const { pen, at } = this;
    pen.font = this.small;
    pen.textAlign = "left";
    pen.textBaseline = "middle";
    const left = this.width < 720 ? 16 : 28; // The page's edge.
    const labels = [["You", at.user], ["Model", at.model], ["Compute", (at.deadline + at.axis) / 2]];
    const fade = pen.createLinearGradient(left + 44, 0, left + 72, 0);
    fade.addColorStop(0, this.colours.paper);
    fade.addColorStop(1, `${this.colours.paper}00`);
    pen.fillStyle = fade;
    pen.fillRect(0, 0, left + 72, at.axis + AXIS);
    pen.fillStyle = this.colours.soft;
    for (const [text, y] of labels) pen.fillText(text, left, y + 0.5);
    pen.textAlign = "right";
    pen.textBaseline = "bottom";
    pen.fillText(`${TURN_MS} ms`, this.width - left, at.deadline - 1);
    if (!live) return;
    const x = Math.round(this.x(nowMs)) + 0.5;
    pen.fillStyle = this.colours.accent;
    pen.fillRect(x - 0.5, at.heard - 2 * WORD_ROW, 1, at.axis - at.heard + 2 * WORD_ROW);
    pen.beginPath();
    pen.arc(x, at.axis, 3.5, 0, 2 * Math.PI);
    pen.fill();
  }
}
