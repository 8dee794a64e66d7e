/** One session as the protocol has it: what may be sent when, what comes back, and taking it up again after a lost line. */
import { decode, encode } from "./pcm.js";
import { TURN_MS } from "./timeline.js";

const RATE_HZ = 16000;
const RESUME_WITHIN_MS = 60_000;
const FIRST_WAIT_MS = 300;
const LONGEST_WAIT_MS = 4000;
const ACK_EVERY_MS = 200;

/**
 * ``idle`` -> ``connecting`` -> ``live`` <-> ``resuming`` -> ``ended``. Handlers: ``onState(state, why)``,
 * ``onVoice(pcm, startMs, endMs)``, ``onText(lane, text, startMs)``, ``onTurn(turn)``, ``onYield()``, ``onError(message)``.
 */
export class LiveSession {
  constructor(transport, handlers, later = setTimeout) {
    this.transport = transport;
    this.handlers = handlers;
    this.later = later;
    this.state = "idle";
    transport.onOpen = () => this.#opened();
    transport.onEvent = (event) => this.#received(event);
    transport.onClose = (reason) => this.#lost(reason);
  }

  #become(state, why = "") {
    this.state = state;
    this.handlers.onState(state, why);
  }

  start() {
    this.identity = undefined;
    this.waiting = [];
    this.muted = false;
    this.heardMs = 0;
    this.#become("connecting");
    this.transport.open();
  }

  end() {
    if (this.state === "live") this.transport.send({ type: "session.close" });
    else this.#ended("");
  }

  sendAudio(pcm) {
    if (this.state === "live" && !this.muted) this.transport.send({ type: "session.input_audio.append", audio: encode(pcm) });
  }

  /** @param {string} image base64 of a JPEG @param {number} ms when it was taken, on the session's clock */
  sendPicture(image, ms) {
    if (this.state === "live") this.transport.send({ type: "session.input_video.append", image, at_ms: Math.round(ms) });
  }

  sendText(text) {
    this.#sendOrKeep({ type: "session.input_text.append", text });
  }

  mute(muted) {
    if (muted === this.muted) return;
    this.muted = muted;
    this.#sendOrKeep({ type: muted ? "session.input_audio.mute" : "session.input_audio.unmute" });
  }

  /** What a person asked for is not lost because the line is just being made. */
  #sendOrKeep(event) {
    if (this.state !== "live" || !this.transport.send(event)) this.waiting.push(event);
  }

  /** The model's voice was heard up to here; ``dropped`` when the rest will not be. */
  acknowledge(heardMs, dropped = false) {
    if (this.state !== "live" || (!dropped && heardMs - this.heardMs < ACK_EVERY_MS)) return;
    this.heardMs = heardMs;
    this.transport.send({ type: "session.playback.ack", heard_ms: Math.round(heardMs) });
  }

  #opened() {
    if (this.identity) {
      this.transport.send({ type: "session.resume", session_id: this.identity.id });
    } else {
      const audio = { format: { type: "audio/pcm", rate: RATE_HZ } };
      this.transport.send({ type: "session.start", session: { model: "default", audio, turns: true } });
    }
  }

  #received(event) {
    const { handlers } = this;
    switch (event.type) {
      case "session.started":
      case "session.resumed":
        this.identity = event.session;
        this.#become("live");
        for (const one of this.waiting.splice(0)) this.transport.send(one);
        break;
      case "session.output_audio.delta":
        handlers.onVoice(decode(event.delta), event.start_ms, event.end_ms);
        break;
      case "session.input_transcript.delta":
        handlers.onText("heard", event.delta, event.end_ms);
        break;
      case "session.output_transcript.delta":
        handlers.onText("said", event.delta, event.start_ms);
        break;
      case "session.turn":
        handlers.onTurn(event);
        break;
      case "session.closed":
        this.#ended(event.reason === "close_requested" ? "" : `The session was closed: ${event.reason}.`);
        break;
      case "error":
        if (this.state === "live") handlers.onError(event.error.message);
        else this.#ended(event.error.message);
        break;
    }
  }

  #ended(why) {
    if (this.state === "ended") return;
    this.#become("ended", why);
    this.transport.close();
  }

  #lost(reason) {
    if (this.state === "connecting") return this.#ended(reason || "The server does not answer. Is it running?");
    if (this.state === "live") {
      this.lostMs = performance.now();
      this.waitMs = FIRST_WAIT_MS;
      this.#become("resuming");
    }
    if (this.state !== "resuming") return;
    if (performance.now() - this.lostMs > RESUME_WITHIN_MS) return this.#ended("The server could not be reached for a minute.");
    this.later(() => this.state === "resuming" && this.transport.open(), this.waitMs);
    this.waitMs = Math.min(2 * this.waitMs, LONGEST_WAIT_MS);
  }
}
