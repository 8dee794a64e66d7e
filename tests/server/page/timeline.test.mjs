// What the timeline gathers and where it puts it.
import assert from "node:assert/strict";
import { test } from "node:test";
import { lanes } from "./draw.js";
import { Clock, KEPT_MS, Levels, Timeline, clockText } from "./timeline.js";

const newTimeline = () => new Timeline((text) => 8 * text.length, 0.1);

test("levels lie on the clock, forget what is old, and read as silence where nothing was", () => {
  const levels = new Levels(1000);
  levels.add(100, [0.5, 0.6]);
  assert.equal(levels.at(10), 0.5);
  assert.ok(Math.abs(levels.loudest(0, 200) - 0.6) < 1e-6);
  assert.equal(levels.at(3), 0);
  levels.add(5000, [0.25]);
  assert.equal(levels.at(10), 0);
  assert.equal(levels.at(500), 0.25);
  assert.equal(levels.at(450), 0);
});

test("a bin that the clock's rounding skipped is no slit in the voice", () => {
  const levels = new Levels();
  levels.add(0, [0.5, 0.5]);
  levels.add(30, [0.5, 0.5]);
  assert.equal(levels.at(2), 0.5);
});

test("words are split at spaces, and a piece without one goes on with the last word", () => {
  const timeline = newTimeline();
  timeline.addText("said", " good mor", 1000);
  timeline.addText("said", "ning", 1200);
  assert.deepEqual(timeline.words.said.map((word) => word.text), ["good", "morning"]);
  assert.equal(timeline.words.said[1].ms, 1000);
});

test("words never overlap on their level, whatever comes, and keep their place", () => {
  const timeline = newTimeline();
  for (let i = 0; i < 60; i++) timeline.addText("heard", ` ${"word".repeat(1 + (i % 3))}`, 200 * Math.floor(i / 2));
  timeline.addText("typed", "say red now", 3000);
  const before = timeline.words.heard.map((word) => [word.startMs, word.level]);
  const all = [...timeline.words.heard, ...timeline.words.typed];
  for (const level of [0, 1]) {
    const row = timeline.words.heard.filter((word) => word.level === level).sort((a, b) => a.startMs - b.startMs);
    row.slice(1).forEach((word, i) => assert.ok(word.startMs >= row[i].endMs, `${word.text} at ${word.startMs}`));
  }
  assert.ok(all.every((word) => word.level === 0 || word.level === 1));
  timeline.addText("said", " red", 20000);
  assert.deepEqual(timeline.words.heard.map((word) => [word.startMs, word.level]), before);
});

test("what is typed finds room among what is heard", () => {
  const timeline = newTimeline();
  timeline.addText("heard", " sandwich", 1000);
  timeline.addText("typed", "spell red", 900);
  assert.notEqual(timeline.words.heard[0].level, timeline.words.typed[0].level);
});

test("a heard word ends at its time, a said word starts there", () => {
  const timeline = newTimeline();
  timeline.addText("heard", " red", 1000);
  timeline.addText("said", " red", 1000);
  assert.equal(timeline.words.heard[0].endMs, 1000);
  assert.equal(timeline.words.said[0].startMs, 1000);
});

/** ``pattern``: pairs of milliseconds and peaks, 20 ms at a time. */
function play(timeline, toMs, microphone, voice) {
  for (let ms = 0; ms < toMs; ms += 20) {
    const at = (spans) => (spans.some(([from, to]) => ms >= from && ms < to) ? 0.5 : 0);
    timeline.addVoices(ms, [at(microphone), at(microphone)], [at(voice), at(voice)]);
  }
}

test("a reaction lasts from the user's last sound to the model's first", () => {
  const timeline = newTimeline();
  play(timeline, 5000, [[1000, 2000]], [[2400, 2800], [2900, 3200]]);
  assert.deepEqual(timeline.reactions, [{ fromMs: 2000, toMs: 2400 }]);
});

test("a reaction to what was typed counts from there; a timer minutes later is none", () => {
  const timeline = newTimeline();
  timeline.addText("typed", "say red", 1000);
  play(timeline, 9000, [], [[1400, 1800], [8000, 8400]]);
  assert.deepEqual(timeline.reactions, [{ fromMs: 1000, toMs: 1400 }]);
});

test("what is said long after speech was due then, and is no reaction", () => {
  const timeline = newTimeline();
  play(timeline, 4000, [[1000, 2000]], [[3100, 3500]]);
  assert.deepEqual(timeline.reactions, []);
});

test("a model that interrupts reacts to no end", () => {
  const timeline = newTimeline();
  play(timeline, 3000, [[1000, 3000]], [[2000, 2400]]);
  assert.deepEqual(timeline.reactions, []);
});

test("hours leave nothing behind", () => {
  const timeline = newTimeline();
  for (let turn = 0; turn < 50_000; turn++) {
    timeline.addTurn({ turn, speaking: false });
    if (turn % 5 === 0) timeline.addText("said", " word", turn * 200);
  }
  assert.ok(timeline.turns.size <= KEPT_MS / 200 + 1);
  assert.ok(timeline.words.said.length <= KEPT_MS / 1000 + 1);
});

test("the clock keeps to the fastest way through, and follows a server that stood still", () => {
  const clock = new Clock();
  for (let turn = 0; turn < 50; turn++) clock.told(turn, 10_000 + (turn + 1) * 200 + (turn % 7) * 15);
  assert.ok(Math.abs(clock.at(20_000) - 10_000) < 2);
  for (let turn = 50; turn < 70; turn++) clock.told(turn, 13_000 + (turn + 1) * 200 + (turn % 7) * 15);
  assert.ok(Math.abs(clock.at(27_000) - 14_000) < 2);
});

test("times read like a clock", () => {
  assert.deepEqual([0, 61_000, 3_723_000].map(clockText), ["0:00", "1:01", "1:02:03"]);
});

test("lanes lie below each other at every height", () => {
  for (const height of [312, 380, 620]) {
    for (const pictures of [false, true]) {
      const at = lanes(height, pictures);
      const order = [at.heard, at.user, at.spine, at.model, at.said, at.deadline, at.axis];
      assert.deepEqual(order, [...order].sort((a, b) => a - b));
      assert.ok(at.axis < height - 18, `${at.axis} of ${height}`);
    }
  }
});
