/**
 * Both voices on one clock: the microphone goes out as 20 ms of PCM16 at 16 kHz together with what was played meanwhile;
 * the model's voice comes in and is played.
 */
import { Resampler } from "./resample.js";
import { fromPcm16, toPcm16 } from "./pcm.js";
import { VoiceQueue } from "./voice-queue.js";

const RATE_HZ = 16000;
const CHUNK_SAMPLES = 320;

/** Collects samples until a chunk is full. */
class Chunker {
  constructor() {
    this.resampler = new Resampler(sampleRate, RATE_HZ);
    this.samples = new Float32Array(0);
  }

  push(block) {
    const more = this.resampler.push(block);
    const joined = new Float32Array(this.samples.length + more.length);
    joined.set(this.samples);
    joined.set(more, this.samples.length);
    this.samples = joined;
  }

  get full() {
    return this.samples.length >= CHUNK_SAMPLES;
  }

  take() {
    const chunk = toPcm16(this.samples.subarray(0, CHUNK_SAMPLES));
    this.samples = this.samples.slice(CHUNK_SAMPLES);
    return chunk;
  }
}

class Voices extends AudioWorkletProcessor {
  constructor() {
    super();
    this.microphone = new Chunker();
    this.played = new Chunker();
    this.restart();
    this.port.onmessage = ({ data }) => this.receive(data);
  }

  restart() {
    this.queue = new VoiceQueue(sampleRate);
    this.resampler = new Resampler(RATE_HZ, sampleRate);
  }

  receive({ kind, pcm, startMs, endMs, mostMs }) {
    if (kind === "voice") this.queue.push(this.resampler.push(fromPcm16(pcm)), startMs, endMs);
    if (kind === "restart") this.restart();
    if (kind === "keep") this.dropped = this.queue.keep(mostMs) > 0;
  }

  process([input, stream], [output, outgoing]) {
    const voice = output[0];
    this.queue.pull(voice);
    for (const channel of stream) channel.forEach((one, i) => (voice[i] += one / stream.length));
    for (const other of output.slice(1)) other.set(voice);
    this.played.push(voice);
    const block = new Float32Array(voice.length);
    for (const channel of input) channel.forEach((one, i) => (block[i] += one / input.length));
    this.microphone.push(block);
    outgoing[0].set(block);
    if (this.dropped && this.queue.done) {
      this.dropped = false;
      this.port.postMessage({ kind: "dropped", heardMs: this.queue.heardMs });
    }
    while (this.microphone.full && this.played.full) {
      const { heardMs, playing, lateTimes } = this.queue;
      const [microphone, played] = [this.microphone.take(), this.played.take()];
      this.port.postMessage({ kind: "chunk", microphone, played, heardMs, playing, lateTimes });
    }
    return true;
  }
}

registerProcessor("voices", Voices);
