/** Samples as bytes: PCM16, base64, and WAV files. */

/** @param {Float32Array} samples in [-1, 1] @returns {Int16Array} */
export function toPcm16(samples) {
  return Int16Array.from(samples, (one) => Math.round(Math.max(-1, Math.min(1, one)) * 32767));
}

/** @param {Int16Array} pcm @returns {Float32Array} */
export function fromPcm16(pcm) {
  return Float32Array.from(pcm, (one) => one / 32768);
}

/** @param {Int16Array} pcm @returns {string} base64 of its little-endian bytes */
export function encode(pcm) {
  const bytes = new Uint8Array(pcm.buffer, pcm.byteOffset, pcm.byteLength);
  let text = "";
  for (let i = 0; i < bytes.length; i += 8192) text += String.fromCharCode(...bytes.subarray(i, i + 8192));
  return btoa(text);
}

/** @param {string} base64 of little-endian PCM16 @returns {Int16Array} */
export function decode(base64) {
  const bytes = Uint8Array.from(atob(base64), (one) => one.charCodeAt(0));
  return new Int16Array(bytes.buffer, 0, bytes.length >> 1);
}

/** Largest absolute sample in each of ``count`` equal stretches, in [0, 1]. */
export function peaks(pcm, count) {
  const width = pcm.length / count;
  return Array.from({ length: count }, (_, i) => {
    let peak = 0;
    for (let k = Math.floor(i * width); k < Math.floor((i + 1) * width); k++) peak = Math.max(peak, Math.abs(pcm[k]));
    return peak / 32768;
  });
}

/** A stereo WAV file. Both channels are lists of chunks of the same lengths. @returns {Uint8Array[]} its parts */
export function wavFile(leftChunks, rightChunks, rateHz) {
  const frames = leftChunks.reduce((sum, chunk) => sum + chunk.length, 0);
  const header = new DataView(new ArrayBuffer(44));
  const ascii = (at, text) => [...text].forEach((one, i) => header.setUint8(at + i, one.charCodeAt(0)));
  ascii(0, "RIFF");
  header.setUint32(4, 36 + frames * 4, true);
  ascii(8, "WAVEfmt ");
  header.setUint32(16, 16, true);
  header.setUint16(20, 1, true);
  header.setUint16(22, 2, true);
  header.setUint32(24, rateHz, true);
  header.setUint32(28, rateHz * 4, true);
  header.setUint16(32, 4, true);
  header.setUint16(34, 16, true);
  ascii(36, "data");
  header.setUint32(40, frames * 4, true);
  const body = leftChunks.map((left, i) => {
    const both = new Int16Array(left.length * 2);
    left.forEach((one, k) => {
      both[2 * k] = one;
      both[2 * k + 1] = rightChunks[i][k];
    });
    return new Uint8Array(both.buffer);
  });
  return [new Uint8Array(header.buffer), ...body];
}
