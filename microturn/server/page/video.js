/** Camera or screen as small pictures, at most five a second, one a turn: a track, or JPEG files. */

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
    this.context = this.canvas.getContext("2d");
  }

  /** A track of what ``send`` is called for; undefined in a browser that has none. */
  get outgoing() {
    this.track ??= this.canvas.captureStream?.(0).getVideoTracks()[0];
    return this.track?.requestFrame && this.track;
  }

  /** The picture that was just taken goes out by the track. */
  send() {
    this.outgoing.requestFrame();
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
      const [width, height] = [Math.round(videoWidth * share), Math.round(videoHeight * share)];
      if (this.canvas.width !== width || this.canvas.height !== height) Object.assign(this.canvas, { width, height });
      this.context.drawImage(this.preview, 0, 0, width, height);
      await this.onPicture(this.canvas);
    } finally {
      this.taking = false;
    }
  }
}
