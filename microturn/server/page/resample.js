/** Streaming sample-rate conversion: a windowed sinc, one set of taps for each phase of the ratio. */

const ZERO_CROSSINGS = 32;
const PASS = 0.96; // Share of the narrower band that is kept; the rest is the filter's slope.

function divisor(a, b) {
  return b ? divisor(b, a % b) : a;
}

/** Taps of one phase: ``half`` samples before and after the point that lies ``fraction`` after a sample. */
function taps(half, fraction, cutoff) {
  const row = new Float32Array(2 * half);
  let sum = 0;
  for (let k = 0; k < row.length; k++) {
    const t = k - half + 1 - fraction;
    const x = Math.PI * 2 * cutoff * t;
    const window = Math.cos((Math.PI * t) / (2 * half)) ** 2;
    row[k] = (Math.abs(x) < 1e-9 ? 1 : Math.sin(x) / x) * window;
    sum += row[k];
  }
  return row.map((tap) => tap / sum);
}

/** Turns a stream at ``fromHz`` into one at ``toHz``; blocks of any length give the same samples as one long block. */
export class Resampler {
  constructor(fromHz, toHz) {
    const common = divisor(fromHz, toHz);
    this.up = toHz / common;
    this.down = fromHz / common;
    const cutoff = 0.5 * PASS * Math.min(1, toHz / fromHz);
    this.half = Math.ceil(ZERO_CROSSINGS / (2 * cutoff));
    this.phases = Array.from({ length: this.up }, (_, phase) => taps(this.half, phase / this.up, cutoff));
    this.waiting = new Float32Array(this.half - 1); // Input that later output still needs; starts with silence.
    this.index = 0; // First tap of the next output sample, in ``waiting``.
    this.phase = 0;
  }

  /** @param {Float32Array} input @returns {Float32Array} what can be computed by now */
  push(input) {
    if (this.up === this.down) return Float32Array.from(input);
    const samples = new Float32Array(this.waiting.length + input.length);
    samples.set(this.waiting);
    samples.set(input, this.waiting.length);
    const output = [];
    const length = 2 * this.half;
    while (this.index + length <= samples.length) {
      const row = this.phases[this.phase];
      let sum = 0;
      for (let k = 0; k < length; k++) sum += row[k] * samples[this.index + k];
      output.push(sum);
      this.phase += this.down;
      this.index += Math.floor(this.phase / this.up);
      this.phase %= this.up;
    }
    const used = Math.min(this.index, samples.length);
    this.waiting = samples.slice(used);
    this.index -= used;
    return Float32Array.from(output);
  }
}
