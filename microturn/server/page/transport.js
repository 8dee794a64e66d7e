/**
 * How events travel between page and server. A transport has ``open()``, ``send(event)``, ``close()`` and calls
 * ``onOpen()``, ``onEvent(event)`` and ``onClose(reason)``; another way (WebRTC) is another class with the same five.
 */

const MOST_WAITING_BYTES = 512 * 1024;

export class WebSocketTransport {
  /** @param {string} path on this page's server */
  constructor(path) {
    this.url = new URL(path, location.href);
    this.url.protocol = this.url.protocol === "https:" ? "wss:" : "ws:";
    this.onOpen = this.onEvent = this.onClose = () => {};
  }

  open() {
    const socket = new WebSocket(this.url);
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
