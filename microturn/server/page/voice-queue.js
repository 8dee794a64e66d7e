/** The model's voice between network and loudspeaker: no gap while it speaks, no click when it stops, and what was heard. */

const FADE_MS = 4;
const FIRST_CUSHION_MS = 80;
const MOST_CUSHION_MS = 240;
const CUSHION_STEP_MS = 40;
const MOST_QUEUED_MS = 1500;

/**
 * Pieces of sound, each with its place on the session's clock. The first waits for ``cushionMs``, so that the next may
 * be that much late; whenever one comes too late to follow on, the cushion grows.
 */
export class VoiceQueue {
  constructor(rateHz) {
    this.rateHz = rateHz;
    this.pieces = [];
    this.cushionMs = FIRST_CUSHION_MS;
    this.playing = false;
    this.waitedMs = 0;
    this.gain = 0; // Moves by one step a sample between 0 and 1, so nothing starts or stops at once.
    this.last = 0;
    this.heardMs = 0; // How far the model's voice was heard, on the session's clock.
    this.endMs = -Infinity; // Where the newest piece ends.
    this.lateTimes = 0;
  }

  /** Whether all that came was heard or dropped. */
  get done() {
    return !this.playing && this.pieces.length === 0;
  }

  get queuedMs() {
    return this.pieces.reduce((sum, piece) => sum + ((piece.samples.length - piece.at) * 1000) / this.rateHz, 0);
  }

  /** @param {Float32Array} samples at the queue's rate @param {number} startMs @param {number} endMs session's clock */
  push(samples, startMs, endMs) {
    const followsOn = Math.abs(startMs - this.endMs) <= 2; // Milliseconds are rounded.
    if (followsOn && !this.playing && this.pieces.length === 0) {
      this.lateTimes++;
      this.cushionMs = Math.min(MOST_CUSHION_MS, this.cushionMs + CUSHION_STEP_MS);
    } else if (!followsOn) {
      this.cushionMs = Math.max(FIRST_CUSHION_MS, this.cushionMs - CUSHION_STEP_MS / 4);
    }
    this.endMs = endMs;
    this.pieces.push({ samples, at: 0, startMs, endMs });
    while (this.queuedMs > MOST_QUEUED_MS) this.pieces.shift();
  }

  /** Keep at most ``mostMs`` of what is queued; then the sound fades out. @returns {number} milliseconds dropped */
  keep(mostMs) {
    const before = this.queuedMs;
    let left = Math.round((mostMs * this.rateHz) / 1000);
    this.pieces = this.pieces.filter(({ samples, at }) => {
      if (left <= 0) return false;
      left -= samples.length - at;
      return true;
    });
    const piece = this.pieces.at(-1);
    if (piece && left < 0) {
      const length = piece.samples.length + left;
      piece.endMs = piece.startMs + ((piece.endMs - piece.startMs) * length) / piece.samples.length;
      piece.samples = piece.samples.subarray(0, length);
    }
    return before - this.queuedMs;
  }

  /** Fill ``output`` with the next samples; silence where there are none. @param {Float32Array} output */
  pull(output) {
    if (!this.playing && this.pieces.length) {
      this.waitedMs += (output.length * 1000) / this.rateHz;
      this.playing = this.waitedMs >= this.cushionMs;
    }
    const step = 1000 / (this.rateHz * FADE_MS);
    for (let i = 0; i < output.length; i++) {
      const piece = this.playing ? this.pieces[0] : undefined;
      this.gain = Math.max(0, Math.min(1, this.gain + (piece ? step : -step)));
      if (piece) {
        this.last = piece.samples[piece.at++];
        if (piece.at === piece.samples.length) this.pieces.shift();
        const share = piece.at / piece.samples.length;
        this.heardMs = piece.startMs + share * (piece.endMs - piece.startMs);
      }
      output[i] = this.last * this.gain;
      if (this.playing && this.pieces.length === 0) {
        this.playing = false;
        this.waitedMs = 0;
      }
    }
  }
}
