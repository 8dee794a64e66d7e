/** Events by a data channel; tracks: the microphone's, the camera's, and the model's voice, which the server paces. */

const OPEN_WITHIN_MS = 4000;
const GATHER_WITHIN_MS = 500;
const MOST_WAITING_BYTES = 512 * 1024;
const SERVER_WAITS_MS = 80; // docs/protocol.md: 60 ms, and then 20 ms go at a time.
const FIRST = { "session.start": ({ session }) => ({ session }), "session.resume": ({ type, ...resume }) => ({ resume }) };

/** A transport (transport.js) that also has the voices and the pictures; ``onFailed(session)`` when no connection comes about. */
export class WebRtcTransport {
  /** @param {() => (MediaStreamTrack|undefined)[]} outgoing microphone and pictures @param {(stream: MediaStream) => void} onVoice the model's voice */
  constructor(path, headers, outgoing, onVoice) {
    [this.path, this.headers, this.outgoing, this.onVoice] = [path, headers, outgoing, onVoice];
    this.hasVoice = true;
    this.name = "WebRTC";
    this.onOpen = this.onEvent = this.onClose = this.onFailed = () => {};
  }

  async open() {
    const peer = new RTCPeerConnection();
    this.peer = peer;
    this.isOpen = false;
    this.session = undefined;
    [this.delayS, this.emitted] = [0, 0];
    try {
      const [voice, pictures] = this.outgoing();
      if (voice) peer.addTrack(voice);
      else peer.addTransceiver("audio", { direction: "recvonly" });
      if (pictures) peer.addTransceiver(pictures, { direction: "sendonly" });
      this.hasPictures = Boolean(pictures);
      peer.ontrack = ({ track }) => this.onVoice(new MediaStream([track]));
      this.channel = peer.createDataChannel("events");
      await peer.setLocalDescription();
      if (peer.iceGatheringState !== "complete") {
        await new Promise((resolve) => {
          peer.onicegatheringstatechange = () => peer.iceGatheringState === "complete" && resolve();
          setTimeout(resolve, GATHER_WITHIN_MS);
        });
      }
    } catch {
      return this.#lost(peer);
    }
    if (peer === this.peer) this.onOpen();
  }

  send(event) {
    if (!this.isOpen) return event.type in FIRST && (this.#offer(this.peer, FIRST[event.type](event)), true);
    if (this.channel.readyState !== "open" || this.channel.bufferedAmount > MOST_WAITING_BYTES) return false;
    this.channel.send(JSON.stringify(event));
    return true;
  }

  close() {
    this.#drop();
  }

  /** How long the model's voice has waited at both ends since this was asked last; undefined if none came. */
  async waitedMs() {
    const reports = [...((await this.peer?.getStats()) ?? new Map()).values()];
    const { jitterBufferDelay, jitterBufferEmittedCount } = reports.find(({ type, kind }) => type === "inbound-rtp" && kind === "audio") ?? {};
    const [delayS, count] = [jitterBufferDelay - this.delayS, jitterBufferEmittedCount - this.emitted];
    [this.delayS, this.emitted] = [jitterBufferDelay, jitterBufferEmittedCount];
    return count > 0 ? SERVER_WAITS_MS + (delayS * 1000) / count : undefined;
  }

  async #offer(peer, first) {
    const { channel } = this;
    channel.onopen = () => (this.isOpen = true);
    channel.onmessage = ({ data }) => peer === this.peer && this.onEvent(JSON.parse(data));
    channel.onclose = () => this.#lost(peer);
    peer.onconnectionstatechange = () => ["failed", "disconnected"].includes(peer.connectionState) && this.#lost(peer);
    try {
      const transport = { type: "webrtc", sdp: peer.localDescription.sdp };
      const body = JSON.stringify({ ...first, transport });
      const headers = { "Content-Type": "application/json", ...this.headers };
      const answer = await (await fetch(this.path, { method: "POST", headers, body })).json();
      if (peer !== this.peer) return;
      if (answer.error && answer.error.code !== "invalid_offer") return this.onEvent({ type: "error", error: answer.error });
      this.session = answer.session;
      await peer.setRemoteDescription({ type: "answer", sdp: answer.transport.sdp });
      setTimeout(() => this.isOpen || this.#lost(peer), OPEN_WITHIN_MS);
    } catch {
      this.#lost(peer);
    }
  }

  #lost(peer) {
    if (peer !== this.peer) return;
    const { isOpen, session } = this;
    this.#drop();
    if (isOpen) this.onClose("");
    else this.onFailed(session);
  }

  #drop() {
    this.peer?.close();
    this.peer = undefined;
    this.isOpen = false;
  }
}
