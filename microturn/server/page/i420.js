/** Pictures as video has them: one plane of brightness, two of colour at half the size; BT.601, limited range. */

/** @param {Uint8ClampedArray} rgba of a picture whose sides are even @returns {Uint8Array} the three planes */
export function i420(rgba, width, height) {
  const pixels = width * height;
  const planes = new Uint8ClampedArray((pixels * 3) / 2);
  for (let i = 0; i < pixels; i++) planes[i] = 16 + 0.2568 * rgba[4 * i] + 0.5041 * rgba[4 * i + 1] + 0.0979 * rgba[4 * i + 2];
  for (let y = 0, at = pixels; y < height; y += 2) {
    for (let x = 0; x < width; x += 2, at++) {
      const corner = 4 * (y * width + x);
      const [red, green, blue] = [0, 1, 2].map((i) => {
        const [above, below] = [corner + i, corner + i + 4 * width];
        return (rgba[above] + rgba[above + 4] + rgba[below] + rgba[below + 4]) / 4;
      });
      planes[at] = 128 - 0.1482 * red - 0.291 * green + 0.4392 * blue;
      planes[at + pixels / 4] = 128 + 0.4392 * red - 0.3678 * green - 0.0714 * blue;
    }
  }
  return new Uint8Array(planes.buffer);
}
