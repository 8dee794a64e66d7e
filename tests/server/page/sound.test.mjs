// Resampling, the queue of the model's voice, PCM and WAV: what the worklet is made of.
import assert from "node:assert/strict";
import { test } from "node:test";
import { decode, encode, fromPcm16, peaks, toPcm16, wavFile } from "./pcm.js";
import { Recording } from "./recording.js";
import { Resampler } from "./resample.js";
import { VoiceQueue } from "./voice-queue.js";

const tone = (rateHz, hz, seconds) =>
  Float32Array.from({ length: Math.round(rateHz * seconds) }, (_, i) => 0.5 * Math.sin((2 * Math.PI * hz * i) / rateHz));
const power = (samples) => Math.sqrt(samples.reduce((sum, one) => sum + one * one, 0) / samples.length);

for (const [fromHz, toHz] of [[48000, 16000], [44100, 16000], [96000, 16000], [16000, 48000], [16000, 44100], [8000, 16000]]) {
  test(`a tone keeps its shape from ${fromHz} to ${toHz} Hz`, () => {
    const output = new Resampler(fromHz, toHz).push(tone(fromHz, 1000, 0.5));
    assert.ok(Math.abs(output.length - toHz * 0.5) <= toHz * 0.005, `${output.length} samples`);
    const expected = tone(toHz, 1000, 0.5);
    let worst = 0;
    for (let i = 400; i < output.length - 400; i++) worst = Math.max(worst, Math.abs(output[i] - expected[i]));
    assert.ok(worst < 0.002, `off by ${worst}`);
  });
}

test("what the new rate cannot hold is filtered out, not folded down", () => {
  const output = new Resampler(48000, 16000).push(tone(48000, 11000, 0.5));
  assert.ok(power(output.subarray(200)) < 0.0005 * power(tone(48000, 11000, 0.5)) * 10);
});

test("blocks of any length give the same samples as one", () => {
  const input = tone(44100, 700, 0.3);
  const whole = new Resampler(44100, 16000).push(input);
  const resampler = new Resampler(44100, 16000);
  const parts = [];
  for (let at = 0, size = 1; at < input.length; at += size, size = (size * 7) % 311) parts.push(...resampler.push(input.subarray(at, at + size)));
  assert.deepEqual(Float32Array.from(parts), whole);
});

const RATE_HZ = 48000;
const TURN = RATE_HZ / 5;
const steepest = (samples) => samples.reduce((most, one, i) => (i ? Math.max(most, Math.abs(one - samples[i - 1])) : 0), 0);

/** Pulls ``ms`` in worklet blocks. */
function pull(queue, ms) {
  const output = [];
  for (let n = 0; n < (ms * RATE_HZ) / 1000; n += 128) {
    const block = new Float32Array(128);
    queue.pull(block);
    output.push(...block);
  }
  return output;
}

test("turns that follow each other play without a gap or a click", () => {
  const queue = new VoiceQueue(RATE_HZ);
  const sound = tone(RATE_HZ, 200, 1);
  const output = [];
  for (let turn = 0; turn < 5; turn++) {
    queue.push(sound.slice(turn * TURN, (turn + 1) * TURN), turn * 200, (turn + 1) * 200);
    output.push(...pull(queue, 200));
  }
  output.push(...pull(queue, 200));
  const first = output.findIndex((one) => Math.abs(one) > 0.01);
  for (let at = first + 480; at < first + RATE_HZ - 960; at += 120) {
    assert.ok(power(output.slice(at, at + 480)) > 0.3, `a gap at ${at - first}`);
  }
  assert.ok(steepest(output) < 0.02, `a click: ${steepest(output)}`);
  assert.equal(queue.lateTimes, 0);
  assert.ok(Math.abs(queue.heardMs - 1000) < 1);
});

test("a drop falls silent within a few milliseconds, without a click, and tells what was heard", () => {
  const queue = new VoiceQueue(RATE_HZ);
  queue.push(tone(RATE_HZ, 200, 1), 5000, 6000);
  const before = pull(queue, 300 + queue.cushionMs);
  const heardMs = queue.heardMs;
  const droppedMs = queue.keep(0);
  const after = pull(queue, 100);
  assert.ok(Math.abs(heardMs - 5300) < 5, `heard ${heardMs}`);
  assert.ok(Math.abs(droppedMs - 700) < 5, `dropped ${droppedMs}`);
  assert.ok(after.slice(RATE_HZ * 0.01).every((one) => one === 0), "sounds on after 10 ms");
  assert.ok(steepest([...before, ...after]) < 0.02, "a click");
});

test("of what is queued only so much is kept, and its end is known", () => {
  const queue = new VoiceQueue(RATE_HZ);
  const sound = tone(RATE_HZ, 200, 1);
  for (let turn = 0; turn < 5; turn++) queue.push(sound.slice(turn * TURN, (turn + 1) * TURN), turn * 200, (turn + 1) * 200);
  const before = pull(queue, 300 + queue.cushionMs);
  assert.ok(Math.abs(queue.keep(150) - 550) < 5);
  const after = pull(queue, 400);
  assert.ok(Math.abs(queue.heardMs - 450) < 5, `heard ${queue.heardMs}`);
  assert.ok(steepest([...before, ...after]) < 0.02, "a click");
  assert.equal(queue.keep(100), 0);
});

test("what is cut before it began is done only once the rest was heard", () => {
  const queue = new VoiceQueue(RATE_HZ);
  queue.push(tone(RATE_HZ, 200, 0.2), 1000, 1200);
  queue.keep(90);
  assert.ok(!queue.done);
  pull(queue, 300);
  assert.ok(queue.done && Math.abs(queue.heardMs - 1090) < 2);
});

test("a piece that comes too late fades out, is counted, and the cushion grows; quiet times shrink it again", () => {
  const queue = new VoiceQueue(RATE_HZ);
  const first = queue.cushionMs;
  queue.push(tone(RATE_HZ, 210, 0.2), 0, 200);
  const output = pull(queue, 500);
  queue.push(tone(RATE_HZ, 210, 0.2), 200, 400);
  assert.equal(queue.lateTimes, 1);
  const grown = queue.cushionMs;
  assert.ok(grown > first);
  assert.ok(steepest([...output, ...pull(queue, 500)]) < 0.02, "a click");
  queue.push(tone(RATE_HZ, 210, 0.2), 9000, 9200);
  assert.ok(queue.cushionMs < grown);
});

test("a short last piece is played although it is shorter than the cushion", () => {
  const queue = new VoiceQueue(RATE_HZ);
  queue.push(tone(RATE_HZ, 200, 0.03), 0, 30);
  assert.ok(power(pull(queue, 300)) > 0.05);
  assert.equal(queue.queuedMs, 0);
});

test("a page that was held up does not gather more than it can use", () => {
  const queue = new VoiceQueue(RATE_HZ);
  for (let turn = 0; turn < 100; turn++) queue.push(new Float32Array(TURN), turn * 200, (turn + 1) * 200);
  assert.ok(queue.queuedMs <= 1500);
});

test("PCM16 goes to base64 and back, and loud samples are cut, not wrapped", () => {
  const pcm = toPcm16(Float32Array.from([0, 1, -1, 2, -2, 0.5]));
  assert.deepEqual([...pcm], [0, 32767, -32767, 32767, -32767, 16384]);
  assert.deepEqual(decode(encode(pcm)), pcm);
  assert.ok(Math.abs(fromPcm16(pcm)[5] - 0.5) < 1e-4);
  assert.deepEqual(peaks(Int16Array.from([0, -16384, 8192, 0]), 2), [0.5, 0.25]);
});

test("a WAV file has both voices beside each other", () => {
  const [header, body] = wavFile([Int16Array.from([1, 2])], [Int16Array.from([-1, -2])], 16000);
  const view = new DataView(header.buffer);
  assert.equal(view.getUint16(22, true), 2);
  assert.equal(view.getUint32(24, true), 16000);
  assert.equal(view.getUint32(40, true), 8);
  assert.deepEqual([...new Int16Array(body.buffer)], [1, -1, 2, -2]);
});

test("a recording knows its length and writes a turn a line", async () => {
  const recording = new Recording(1234.4);
  for (let i = 0; i < 50; i++) recording.addVoices(new Int16Array(320), new Int16Array(320), 2);
  recording.addTurn({ type: "session.turn", event_id: "event_9", turn: 7, say: " red", speaking: true });
  assert.equal(recording.lengthMs, 1000);
  assert.equal(recording.sound().size, 44 + 50 * 320 * 4);
  const lines = (await recording.lines().text()).trim().split("\n").map((line) => JSON.parse(line));
  assert.deepEqual([lines[0].start_ms, lines[0].late_times], [1234, 2]);
  assert.deepEqual(lines[1], { turn: 7, say: " red", speaking: true, sound_ms: 1000 });
});
