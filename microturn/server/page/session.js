/** One session as the protocol has it: what may be sent when, what comes back, and taking it up again after a lost line. */
import { decode, encode } from "./pcm.js";

const RATE_HZ = 16000;
const RESUME_WITHIN_MS = 60_000;
const FIRST_WAIT_MS = 300;
const LONGEST_WAIT_MS = 4000;
const ACK_EVERY_MS = 200;
const CLOSE_WITHIN_MS = 1500;
const REASONS = { close_requested: "", expired: "The session's time is over.", remote_hangup: "The server stops." };

/**
 * ``idle`` -> ``connecting`` -> ``live`` <-> ``resuming`` -> ``ended``. Handlers: ``onState(state, why)``, ``onStarted()``
 * (a new session's clock stands at 0), ``onVoice(pcm, startMs, endMs)``, ``onText(lane, text, ms)`` (``ms`` is now, if it is
 * not told), ``onTurn(turn)``, ``onJob(event)``, ``onError(message)``.
 */
export class LiveSession {
  constructor(transport, handlers, later = (task, ms) => setTimeout(task, ms), now = () => performance.now()) {
    this.transport = transport;
    this.handlers = handlers;
    this.later = later;
    this.now = now;
    this.state = "idle";
    this.numStarts = 0;
    transport.onOpen = () => this.#opened();
    transport.onEvent = (event) => this.#received(event);
    transport.onClose = (reason) => this.#lost(reason);
  }

  #become(state, why = "") {
    this.state = state;
    this.handlers.onState(state, why);
  }

  /** Whether there is one, be it that its line is just being made. */
  get isOpen() {
    return ["connecting", "live", "resuming"].includes(this.state);
  }

  start() {
    this.numStarts++;
    this.token = undefined;
    this.waiting = [];
    this.muted = false;
    this.#become("connecting");
    this.transport.open();
  }

  end() {
    if (this.state !== "live" || !this.transport.send({ type: "session.close" })) return this.#ended("");
    // A line that is dead but not closed takes it, and no answer comes.
    const { numStarts } = this;
    this.later(() => numStarts === this.numStarts && this.#ended(""), CLOSE_WITHIN_MS);
  }

  sendAudio(pcm) {
    if (this.state === "live" && !this.muted && !this.transport.hasVoice) this.transport.send({ type: "session.input_audio.append", audio: encode(pcm) });
  }

  /** @param {string} image base64 of a JPEG @param {number} ms when it was taken, on the session's clock */
  sendPicture(image, ms) {
    if (this.state === "live") this.transport.send({ type: "session.input_video.append", image, at_ms: Math.round(ms) });
  }

  /** What a person typed; ``onText("typed", text)`` follows when it is on its way. */
  sendText(text) {
    this.#sendOrKeep({ type: "session.input_text.append", text });
  }

  mute(muted) {
    this.muted = muted;
    this.#tellMute();
  }

  #tellMute() {
    if (this.state !== "live" || this.muted === this.toldMuted) return;
    const type = this.muted ? "session.input_audio.mute" : "session.input_audio.unmute";
    if (this.transport.send({ type })) this.toldMuted = this.muted;
  }

  /** What a person asked for is not lost because the line is just being made. */
  #sendOrKeep(event) {
    if (this.state !== "live" || !this.transport.send(event)) this.waiting.push(event);
    else if (event.text) this.handlers.onText("typed", event.text);
  }

  /** The model's voice was heard up to here; ``dropped`` when the rest of what came will not be. */
  acknowledge(heardMs, dropped = false) {
    if (this.transport.hasVoice && !dropped) return; // The server plays it and knows.
    if (this.state !== "live" || (!dropped && heardMs - this.heardMs < ACK_EVERY_MS)) return;
    this.heardMs = Math.max(this.heardMs, Math.floor(heardMs));
    this.transport.send({ type: "session.playback.ack", heard_until_ms: this.heardMs, dropped });
  }

  #opened() {
    const { id: session_id, token: resume_token, receivedMs: received_ms } = this;
    if (resume_token) this.transport.send({ type: "session.resume", session_id, resume_token, received_ms });
    else this.#begin();
  }

  #begin() {
    const audio = { format: { type: "audio/pcm", rate: RATE_HZ } };
    this.transport.send({ type: "session.start", session: { model: "default", audio, microturn: { turns: true, resumable: true } } });
  }

  #received(event) {
    const { handlers } = this;
    switch (event.type) {
      case "session.started":
        this.#started(event.session);
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
        this.receivedMs = event.end_ms;
        handlers.onTurn(event);
        break;
      case "session.job.state":
      case "session.job.result":
        handlers.onJob(event);
        break;
      case "session.closed":
        this.#ended(REASONS[event.reason] ?? `The session was closed: ${event.reason}.`);
        break;
      case "error":
        this.#failed(event.error);
        break;
    }
  }

  #started({ id, microturn }) {
    const isNew = id !== this.id;
    const wasLost = this.state === "resuming";
    [this.id, this.token] = [id, microturn?.resume_token];
    if (isNew) {
      [this.heardMs, this.toldMuted] = [0, false];
      this.handlers.onStarted();
    }
    this.#become("live", isNew && wasLost ? "The line was lost; this is a new session." : "");
    this.#tellMute();
    for (const one of this.waiting.splice(0)) this.#sendOrKeep(one);
  }

  #failed({ message }) {
    if (this.state === "live") return this.handlers.onError(message);
    if (this.state === "connecting" || !this.token) return this.#ended(message);
    // The server does not know the session any more: another one is better than none.
    this.token = undefined;
    this.#begin();
  }

  #ended(why) {
    if (this.state === "ended") return;
    this.#become("ended", why);
    this.transport.close();
  }

  #lost(reason) {
    if (this.state === "connecting") return this.#ended(reason || this.transport.refusal);
    if (this.state === "live") {
      this.lostMs = this.now();
      this.waitMs = FIRST_WAIT_MS;
      this.#become("resuming");
    }
    if (this.state !== "resuming") return;
    if (this.now() - this.lostMs > RESUME_WITHIN_MS) return this.#ended("The server could not be reached for a minute.");
    this.later(() => this.state === "resuming" && this.transport.open(), this.waitMs);
    this.waitMs = Math.min(2 * this.waitMs, LONGEST_WAIT_MS);
  }
}
