/** What is recorded: both voices as they were caught and played, and the turns. */
import { wavFile } from "./pcm.js";

const RATE_HZ = 16000;
const LONGEST_MS = 3_600_000;

export class Recording {
  constructor(startMs) {
    this.startMs = startMs;
    this.left = [];
    this.right = [];
    this.turns = new Map();
    this.samples = 0;
  }

  get lengthMs() {
    return (this.samples * 1000) / RATE_HZ;
  }

  get full() {
    return this.lengthMs >= LONGEST_MS;
  }

  /** @param {Int16Array} microphone @param {Int16Array} played of the same length */
  addVoices(microphone, played) {
    this.left.push(microphone);
    this.right.push(played);
    this.samples += microphone.length;
  }

  /** What is known of a turn; a turn that is told in parts is put together. */
  addTurn(turn) {
    this.turns.set(turn.turn, { ...this.turns.get(turn.turn), ...turn });
  }

  sound() {
    return new Blob(wavFile(this.left, this.right, RATE_HZ), { type: "audio/wav" });
  }

  /** First how the lines lie to the sound, then one turn a line. */
  lines() {
    const head = { start_ms: Math.round(this.startMs), rate_hz: RATE_HZ, left: "user", right: "model" };
    const lines = [head, ...this.turns.values()].map((one) => JSON.stringify(one));
    return new Blob([`${lines.join("\n")}\n`], { type: "application/jsonl" });
  }
}
