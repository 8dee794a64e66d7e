/** What is recorded: both voices as they were caught and played, and the turns. */
import { wavFile } from "./pcm.js";

const RATE_HZ = 16000;
const LONGEST_MS = 3_600_000;

export class Recording {
  constructor(startMs) {
    this.startMs = startMs;
    this.left = [];
    this.right = [];
    this.turns = [];
    this.samples = 0;
  }

  get lengthMs() {
    return (this.samples * 1000) / RATE_HZ;
  }

  get full() {
    return this.lengthMs >= LONGEST_MS;
  }

  /** @param {Int16Array} microphone @param {Int16Array} played of the same length @param {number} lateTimes by now */
  addVoices(microphone, played, lateTimes) {
    this.lateTimes = lateTimes;
    this.left.push(microphone);
    this.right.push(played);
    this.samples += microphone.length;
  }

  /** @param {object} turn as ``session.turn`` tells it; ``sound_ms`` is how much sound was recorded when it came */
  addTurn({ type, event_id, ...turn }) {
    this.turns.push({ ...turn, sound_ms: this.lengthMs });
  }

  sound() {
    return new Blob(wavFile(this.left, this.right, RATE_HZ), { type: "audio/wav" });
  }

  /** First what the sound is, and how often the model's voice came too late to go on without a pause; then a turn a line. */
  lines() {
    const voices = { rate_hz: RATE_HZ, left: "user", right: "model" };
    const head = { start_ms: Math.round(this.startMs), ...voices, late_times: this.lateTimes ?? 0 };
    const lines = [head, ...this.turns].map((one) => JSON.stringify(one));
    return new Blob([`${lines.join("\n")}\n`], { type: "application/jsonl" });
  }
}
