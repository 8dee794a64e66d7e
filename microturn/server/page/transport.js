/**
 * How events travel between page and server. A transport has ``open()``, ``send(event)``, ``close()``, ``refusal``,
 * ``name``, ``hasVoice`` and ``hasPictures`` (they do not go as events), and calls ``onOpen()``, ``onEvent(event)`` and ``onClose(reason)``.
 */
import { WebRtcTransport } from "./webrtc.js";

const MOST_WAITING_BYTES = 512 * 1024;

/** What the page's address asks for behind its #. */
const asked = (name) => new URLSearchParams(location.hash.slice(1)).get(name);

/** WebRTC where it comes about, else the WebSocket, also for a session that was begun by WebRTC and did not get through. */
export class AnyTransport {
  constructor(path, outgoing, onVoice) {
    const key = asked("key");
    this.socket = new WebSocketTransport(path);
    this.peer = new WebRtcTransport(path, key ? { Authorization: `Bearer ${key}` } : {}, outgoing, onVoice);
    this.way = window.RTCPeerConnection && asked("line") !== "websocket" ? this.peer : this.socket;
    this.onOpen = this.onEvent = this.onClose = () => {};
    for (const way of [this.socket, this.peer]) {
      way.onOpen = () => way === this.way && this.onOpen();
      way.onEvent = (event) => way === this.way && this.onEvent(event);
      way.onClose = (reason) => way === this.way && this.onClose(reason);
    }
    this.peer.onFailed = (session) => {
      this.begun = session;
      this.way = this.socket;
      this.way.open();
    };
  }

  get name() {
    return this.way.name;
  }

  get hasVoice() {
    return this.way.hasVoice;
  }

  get hasPictures() {
    return this.way.hasPictures;
  }

  get refusal() {
    return this.socket.refusal;
  }

  /** How long the model's voice waits on its way, if the line knows. */
  async waitedMs() {
    return this.way.waitedMs?.();
  }

  open() {
    this.way.open();
  }

  send(event) {
    const { begun } = this;
    this.begun = undefined;
    if (event.type === "session.start" && begun) {
      const { id: session_id, microturn } = begun;
      return this.way.send({ type: "session.resume", session_id, resume_token: microturn.resume_token, received_ms: 0 });
    }
    return this.way.send(event);
  }

  close() {
    this.way.close();
  }
}

class WebSocketTransport {
  /** @param {string} path on this page's server */
  constructor(path) {
    this.url = new URL(path, location.href);
    this.url.protocol = this.url.protocol === "https:" ? "wss:" : "ws:";
    this.name = "WebSocket";
    this.hasVoice = this.hasPictures = false;
    // A server that is not on this machine wants a key; a browser can only say it as a subprotocol.
    const key = asked("key");
    this.protocols = key ? ["microturn", `openai-insecure-api-key.${key}`] : [];
    this.onOpen = this.onEvent = this.onClose = () => {};
  }

  open() {
    const socket = new WebSocket(this.url, this.protocols);
    this.socket = socket;
    // A socket that was given up may still report; only the present one counts.
    const present = () => this.socket === socket;
    socket.onopen = () => present() && this.onOpen();
    socket.onmessage = ({ data }) => present() && this.onEvent(JSON.parse(data));
    socket.onclose = ({ code, reason }) => {
      if (!present()) return;
      this.socket = undefined;
      this.onClose(reason || (code === 1006 ? "" : `code ${code}`));
    };
  }

  /** What it most likely means that no connection came about. */
  get refusal() {
    if (["localhost", "127.0.0.1", "[::1]"].includes(location.hostname)) return "The server does not answer. Is it running?";
    return "The server does not answer, or wants a key: open this page with #key=YOUR_KEY at the end of its address.";
  }

  /** @returns {boolean} whether it was sent; a connection that is slow is not filled up: what is missing is a gap */
  send(event) {
    const socket = this.socket;
    if (socket?.readyState !== WebSocket.OPEN || socket.bufferedAmount > MOST_WAITING_BYTES) return false;
    socket.send(JSON.stringify(event));
    return true;
  }

  close() {
    this.socket?.close(1000);
  }
}
