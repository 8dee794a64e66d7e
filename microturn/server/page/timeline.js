/** What the timeline shows, gathered as it happens and placed on the session's clock. No drawing here. */

export const TURN_MS = 200;
export const BIN_MS = 10;
export const KEPT_MS = 600_000; // What is older is forgotten: a page that is open for hours stays as light as a new one.
const QUIET_BEFORE_MS = 600;
const SPEAKS_WITHIN_MS = 400;
const LONGEST_REACTION_MS = 1000; // What is said later was not a reaction but due.
const LONGEST_REACTION_TO_TEXT_MS = 2000;
export const TYPED_FRAME = 16; // Pixels that the frame of a typed line adds.
const MOST_PICTURES = 120;
const PICTURE_SPACING = 72; // Pixels.
const CLOCK_TURNS = 10;
const VOICE_PEAK = 0.02;

/** Peaks of one voice, one for each 10 ms, in a ring. */
export class Levels {
  constructor(keptMs = KEPT_MS) {
    this.peaks = new Float32Array(keptMs / BIN_MS);
    this.end = 0; // Bins written so far.
  }

  /** @param {number} startMs @param {number[]} peaks one for each 10 ms from there on */
  add(startMs, peaks) {
    let bin = Math.max(0, Math.round(startMs / BIN_MS));
    if (bin - this.end > this.peaks.length) this.end = bin - this.peaks.length;
    // A bin or two that were skipped are the clock's rounding; more is silence.
    const between = bin - this.end <= 2 ? (peaks[0] ?? 0) : 0;
    while (this.end < bin) this.peaks[this.end++ % this.peaks.length] = between;
    for (const peak of peaks) {
      this.peaks[bin % this.peaks.length] = peak;
      this.end = Math.max(this.end, ++bin);
    }
  }

  at(bin) {
    const known = bin >= 0 && bin < this.end && bin >= this.end - this.peaks.length;
    return known ? this.peaks[bin % this.peaks.length] : 0;
  }

  /** Loudest peak between two times. */
  loudest(fromMs, toMs) {
    let most = 0;
    for (let bin = Math.floor(fromMs / BIN_MS); bin < toMs / BIN_MS; bin++) most = Math.max(most, this.at(bin));
    return most;
  }
}

export class Timeline {
  /** @param {(text: string) => number} widthOf a word's width in pixels */
  constructor(widthOf, pixelsPerMs) {
    this.widthOf = widthOf;
    this.pixelsPerMs = pixelsPerMs;
    this.clear();
  }

  clear() {
    this.microphone = new Levels();
    this.voice = new Levels();
    this.turns = new Map();
    this.words = { heard: [], said: [], typed: [] };
    this.pictures = [];
    this.jobs = new Map();
    this.reactions = [];
    this.lastVoiceMs = -Infinity;
    this.lastTypedMs = -Infinity;
  }

  /** 20 ms of both voices as they were caught and played. */
  addVoices(startMs, microphone, voice) {
    this.microphone.add(startMs, microphone);
    this.voice.add(startMs, voice);
    voice.forEach((peak, i) => {
      if (peak >= VOICE_PEAK) this.#voiceAt(startMs + i * BIN_MS);
    });
  }

  #voiceAt(ms) {
    const starts = ms - this.lastVoiceMs > QUIET_BEFORE_MS;
    this.lastVoiceMs = ms;
    if (!starts) return;
    const fromMs = Math.max(this.#endOfSpeech(ms), this.lastTypedMs);
    // Who is answered while still speaking was interrupted: there is nothing to measure.
    const longestMs = fromMs === this.lastTypedMs ? LONGEST_REACTION_TO_TEXT_MS : LONGEST_REACTION_MS;
    if (ms - fromMs <= 2 * BIN_MS || ms - fromMs > longestMs) return;
    this.reactions = [...this.reactions.filter((one) => one.toMs > ms - KEPT_MS), { fromMs, toMs: ms }];
  }

  /** Whether the user speaks around ``ms``. */
  speaks(ms) {
    return ms - this.#endOfSpeech(ms) < SPEAKS_WITHIN_MS;
  }

  /** When the user was last loud before ``ms``; -Infinity if not lately. */
  #endOfSpeech(ms) {
    const loud = Math.max(2 * VOICE_PEAK, 0.25 * this.microphone.loudest(ms - 4000, ms));
    for (let bin = Math.floor(ms / BIN_MS); bin > (ms - LONGEST_REACTION_MS) / BIN_MS; bin--) {
      if (this.microphone.at(bin) >= loud) return (bin + 1) * BIN_MS;
    }
    return -Infinity;
  }

  /** What one turn did, as ``session.turn`` tells it. */
  addTurn(turn) {
    this.turns.set(turn.turn, turn);
    for (const old of this.turns.keys()) {
      if (old * TURN_MS > turn.turn * TURN_MS - KEPT_MS) break;
      this.turns.delete(old);
    }
  }

  /**
   * Text of one lane. A piece that does not begin with a space goes on with the last word. Heard words end at ``ms``,
   * said and typed ones start there; each gets the lowest level on which it overlaps no earlier one, and keeps it.
   */
  addText(lane, text, ms) {
    const words = this.words[lane];
    if (lane === "typed") this.lastTypedMs = ms;
    const pieces = lane === "typed" ? [text] : text.match(/\s*\S+/g) ?? [];
    for (const piece of pieces) {
      const last = words.at(-1);
      const goesOn = lane !== "typed" && last && !/^\s/.test(piece) && ms - last.ms <= 2 * TURN_MS;
      const word = goesOn ? words.pop() : { text: "", ms };
      word.text = (word.text + piece).trim();
      words.push(this.#placed(lane, word));
    }
    while (words.length && words[0].ms < ms - KEPT_MS) words.shift();
  }

  #placed(lane, word) {
    const gap = 8 / this.pixelsPerMs;
    const lengthMs = (this.widthOf(word.text) + (lane === "typed" ? TYPED_FRAME : 0)) / this.pixelsPerMs;
    word.startMs = lane === "heard" ? word.ms - lengthMs : word.ms;
    word.endMs = word.startMs + lengthMs;
    // What is typed lies among what is heard: both are the user's.
    const lanes = lane === "said" ? [this.words.said] : [this.words.heard, this.words.typed];
    const beside = lanes.flatMap((words) => words.slice(-12));
    const ends = [0, 0].map((_, level) =>
      beside.reduce((end, one) => (one.level === level ? Math.max(end, one.endMs) : end), -Infinity));
    word.level = ends.findIndex((end) => end + gap <= word.startMs);
    if (word.level < 0) {
      // No room on either: the one that is free sooner takes it, right after its last word.
      word.level = ends.indexOf(Math.min(...ends));
      word.startMs = ends[word.level] + gap;
      word.endMs = word.startMs + lengthMs;
    }
    return word;
  }

  /** Place all words anew: the scale or the font has changed. */
  rescale(pixelsPerMs) {
    this.pixelsPerMs = pixelsPerMs;
    for (const lane of Object.keys(this.words)) {
      const words = this.words[lane];
      this.words[lane] = [];
      for (const word of words) this.words[lane].push(this.#placed(lane, word));
    }
  }

  /** A job begins, or is over; its bar lies on the lowest level that is free. */
  setJob({ job_id: id, state, task, offset_ms: ms }) {
    const job = this.jobs.get(id);
    if (state !== "running") return void (job && Object.assign(job, { state, toMs: ms }));
    const taken = new Set([...this.jobs.values()].filter((one) => one.toMs === undefined).map((one) => one.level));
    let level = 0;
    while (taken.has(level)) level++;
    this.jobs.set(id, { state, task, fromMs: ms, toMs: undefined, level });
    for (const [old, { toMs }] of this.jobs) if (toMs < ms - KEPT_MS) this.jobs.delete(old);
  }

  /** Whether a picture of ``ms`` would lie beside the last one and not over it. */
  hasRoomForPicture(ms) {
    return ms - (this.pictures.at(-1)?.ms ?? -Infinity) >= PICTURE_SPACING / this.pixelsPerMs;
  }

  /** @param {ImageBitmap} image */
  addPicture(ms, image) {
    this.pictures.push({ ms, image });
    while (this.pictures.length > MOST_PICTURES) this.pictures.shift().image.close();
  }
}

/** Where on the session's clock "now" is, from when each turn was told: of the last few the fastest way through counts. */
export class Clock {
  constructor() {
    this.offsetsMs = [];
  }

  /** Turn ``turn`` was told at ``wallMs``: the session's clock stood at its end or later. */
  told(turn, wallMs) {
    // Only a few: a server that stood still has a clock that is behind ever after.
    this.offsetsMs = [...this.offsetsMs.slice(-CLOCK_TURNS + 1), wallMs - (turn + 1) * TURN_MS];
  }

  at(wallMs) {
    return this.offsetsMs.length ? wallMs - Math.min(...this.offsetsMs) : 0;
  }
}

/** Milliseconds as the axis writes them: 0:07, 12:30, 1:02:03. */
export function clockText(ms) {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  const two = (value) => String(value).padStart(2, "0");
  const minutes = Math.floor(seconds / 60);
  const head = minutes >= 60 ? `${Math.floor(minutes / 60)}:${two(minutes % 60)}` : `${minutes}`;
  return `${head}:${two(seconds % 60)}`;
}
