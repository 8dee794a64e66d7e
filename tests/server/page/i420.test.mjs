// Colours as video has them.
import assert from "node:assert/strict";
import { test } from "node:test";
import { i420 } from "./i420.js";

/** A picture of one colour, two pixels high. */
const planes = (width, ...rgb) => [...i420(Uint8ClampedArray.from(Array(2 * width).fill([...rgb, 255]).flat()), width, 2)];

for (const [rgb, y, u, v] of [
  [[0, 0, 0], 16, 128, 128],
  [[255, 255, 255], 235, 128, 128],
  [[255, 0, 0], 81, 90, 240],
  [[0, 255, 0], 145, 54, 34],
  [[0, 0, 255], 41, 240, 110],
]) {
  test(`the planes of ${rgb} are those of BT.601`, () => {
    assert.deepEqual(planes(4, ...rgb), [...Array(8).fill(y), u, u, v, v]);
  });
}

test("each block of four pixels has one colour, and its own", () => {
  const row = [255, 255, 255, 255, 0, 0, 0, 255, 0, 0, 255, 255, 0, 0, 255, 255];
  assert.deepEqual([...i420(Uint8ClampedArray.from([...row, ...row]), 4, 2)].slice(0, 10), [235, 16, 41, 41, 235, 16, 41, 41, 128, 240]);
});
