/** Camera or screen as small pictures, at most five a second, one a turn: a track, or JPEG files. */
import { i420 } from "./i420.js";

const EVERY_MS = 200;
const LONGER_SIDE = 160; // The model sees 80x80; twice that leaves its own scaling something to average.
const QUALITY = 0.75;

export class Video {
  /** @param {HTMLVideoElement} preview @param {(canvas: HTMLCanvasElement) => Promise<void>} onPicture @param {() => void} onEnd */
  constructor(preview, onPicture, onEnd) {
    this.preview = preview;
    this.onPicture = onPicture;
    this.onEnd = onEnd;
    this.canvas = document.createElement("canvas");
    this.context = this.canvas.getContext("2d", { willReadFrequently: true });
  }

  /**
   * A track of what ``send`` is called for; undefined in a browser that has none. Where we can we make its frames ourselves:
   * Chromium sends those of a canvas in other colours (BT.709, full range) than VP8 stands for, and does not say so.
   */
  get outgoing() {
    if (window.MediaStreamTrackGenerator) this.track ??= new MediaStreamTrackGenerator({ kind: "video" });
    else this.track ??= this.canvas.captureStream?.(0).getVideoTracks()[0];
    this.writer ??= this.track?.writable?.getWriter();
    return (this.writer || this.track?.requestFrame) && this.track;
  }

  /** The picture that was just taken goes out by the track. */
  send() {
    if (!this.writer) return this.track.requestFrame();
    const { width, height } = this.canvas;
    const planes = i420(this.context.getImageData(0, 0, width, height).data, width, height);
    const layout = { format: "I420", codedWidth: width, codedHeight: height };
    this.writer.write(new VideoFrame(planes, { ...layout, timestamp: performance.now() * 1000 }));
  }

  /** @returns {Promise<string>} base64 of the picture that was just taken */
  async jpeg() {
    const blob = await new Promise((resolve) => this.canvas.toBlob(resolve, "image/jpeg", QUALITY));
    return btoa(String.fromCharCode(...new Uint8Array(await blob.arrayBuffer())));
  }

  /** @param {"camera"|"screen"} kind. Rejects when it is refused or missing. */
  async start(kind, deviceId) {
    const size = { width: { ideal: 320 }, height: { ideal: 240 }, frameRate: { ideal: 15 } };
    const device = deviceId && { deviceId: { exact: deviceId } };
    const stream = kind === "camera"
      ? await navigator.mediaDevices.getUserMedia({ video: { ...size, ...device } })
      : await navigator.mediaDevices.getDisplayMedia({ video: { frameRate: 5 } });
    this.stop();
    this.kind = kind;
    this.stream = stream;
    stream.getVideoTracks()[0].onended = () => {
      this.stop();
      this.onEnd();
    };
    this.preview.srcObject = stream;
    this.preview.hidden = false;
    await this.preview.play();
    this.timer = setInterval(() => this.#take(), EVERY_MS);
  }

  stop() {
    clearInterval(this.timer);
    this.stream?.getTracks().forEach((track) => track.stop());
    this.preview.srcObject = this.stream = this.kind = null;
    this.preview.hidden = true;
  }

  async #take() {
    const { videoWidth, videoHeight } = this.preview;
    if (!videoWidth || this.taking) return;
    this.taking = true;
    try {
      const share = Math.min(1, LONGER_SIDE / Math.max(videoWidth, videoHeight));
      const [width, height] = [videoWidth, videoHeight].map((side) => 2 * Math.round((side * share) / 2)); // Of colour there is half.
      if (this.canvas.width !== width || this.canvas.height !== height) Object.assign(this.canvas, { width, height });
      this.context.drawImage(this.preview, 0, 0, width, height);
      await this.onPicture(this.canvas);
    } finally {
      this.taking = false;
    }
  }
}
