/** Camera or screen as small JPEG pictures, at most five a second: one a turn. */

const EVERY_MS = 200;
const LONGER_SIDE = 160; // The model sees 80x80; twice that leaves its own scaling something to average.
const QUALITY = 0.75;

export class Video {
  /** @param {HTMLVideoElement} preview @param {(base64: string, canvas: HTMLCanvasElement) => void} onPicture @param {() => void} onEnd */
  constructor(preview, onPicture, onEnd) {
    this.preview = preview;
    this.onPicture = onPicture;
    this.onEnd = onEnd;
    this.canvas = document.createElement("canvas");
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
    const share = Math.min(1, LONGER_SIDE / Math.max(videoWidth, videoHeight));
    this.canvas.width = Math.round(videoWidth * share);
    this.canvas.height = Math.round(videoHeight * share);
    this.canvas.getContext("2d").drawImage(this.preview, 0, 0, this.canvas.width, this.canvas.height);
    const blob = await new Promise((resolve) => this.canvas.toBlob(resolve, "image/jpeg", QUALITY));
    const bytes = new Uint8Array(await blob.arrayBuffer());
    if (this.stream) this.onPicture(btoa(String.fromCharCode(...bytes)), this.canvas);
    this.taking = false;
  }
}
