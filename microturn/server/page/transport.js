/**
 * How events travel between page and server. A transport has ``open()``, ``send(event)``, ``close()``, ``refusal``
 * and calls ``onOpen()``, ``onEvent(event)`` and ``onClose(reason)``; another way (WebRTC) is another class with the same.
 */

const MOST_WAITING_BYTES = 512 * 1024;

export class WebSocketTransport {
  /** @param {string} path on this page's server */
  constructor(path) {
    this.url = new URL(path, location.href);
    this.url.protocol = this.url.protocol === "https:" ? "wss:" : "ws:";
    // A server that is not on this machine wants a key; a browser can only say it as a subprotocol.
    const key = new URLSearchParams(location.hash.slice(1)).get("key");
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
