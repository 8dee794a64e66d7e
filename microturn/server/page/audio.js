/** Microphone, loudspeaker and the worklet between them. Nothing here knows of sessions. */

const LONGEST_START_MS = 2000;
// No gain control: it turns noise up and words down by turns; the model is taught levels over 40 dB.
const MICROPHONE = { echoCancellation: true, noiseSuppression: false, autoGainControl: false, channelCount: 1 };

export class Audio {
  /** @param {(report: object) => void} onReport what the worklet tells every 20 ms, and when it dropped the voice */
  constructor(onReport) {
    this.onReport = onReport;
  }

  get running() {
    return this.context?.state === "running";
  }

  /** Whether this browser lets a page choose its loudspeaker. */
  static get hasSpeakers() {
    return "setSinkId" in (window.AudioContext?.prototype ?? {});
  }

  /** Open the sound system; call it from a click or a key. */
  async start() {
    this.opening ??= this.#open().catch((error) => {
      // The next click tries again, with nothing left of this try.
      this.context?.close();
      this.opening = this.context = this.node = undefined;
      throw error;
    });
    await this.opening;
    // Where there is nothing to play on, a browser may never answer.
    await Promise.race([this.context.resume(), new Promise((resolve) => setTimeout(resolve, LONGEST_START_MS))]);
    if (!this.running) throw new Error("there is nothing to play on");
  }

  async #open() {
    this.context = new AudioContext({ latencyHint: "interactive" });
    await this.context.audioWorklet.addModule(new URL("audio-worklet.js", import.meta.url));
    const options = { numberOfInputs: 2, numberOfOutputs: 2, outputChannelCount: [1, 1] };
    this.node = new AudioWorkletNode(this.context, "voices", options);
    this.node.port.onmessage = ({ data }) => this.onReport(data);
    this.node.connect(this.context.destination);
    this.out = new MediaStreamAudioDestinationNode(this.context, { channelCount: 1 });
    this.outGate = new GainNode(this.context);
    this.node.connect(this.outGate, 1).connect(this.out);
    this.inGate = new GainNode(this.context);
    this.inGate.connect(this.node, 0, 1);
  }

  /** What goes out, as a track: the microphone or what is played in its place. */
  get outgoing() {
    return this.out?.stream.getAudioTracks()[0];
  }

  /** Play a stream as the model's voice. */
  playStream(stream) {
    if (!this.context) return;
    this.incoming?.disconnect();
    // A browser lets a stream of WebRTC flow only where an element plays it too.
    this.element = new window.Audio();
    this.element.muted = true;
    this.element.srcObject = stream;
    this.incoming = this.context.createMediaStreamSource(stream);
    this.incoming.connect(this.inGate);
  }

  /** While paused nothing goes out and no stream is heard. */
  set paused(paused) {
    for (const gate of [this.outGate, this.inGate]) gate?.gain.setValueAtTime(paused ? 0 : 1, this.context.currentTime);
  }

  /** From the loudspeaker's queue to the ear, as far as the browser knows. */
  get outputDelayMs() {
    return ((this.context?.outputLatency || 0) + (this.context?.baseLatency || 0)) * 1000;
  }

  /** @param {string} deviceId "" is the system's choice. Rejects when it is refused or missing. */
  async openMicrophone(deviceId) {
    if (!this.node) throw new Error("there is no sound system");
    const audio = { ...MICROPHONE, ...(deviceId && { deviceId: { exact: deviceId } }) };
    const stream = await navigator.mediaDevices.getUserMedia({ audio });
    this.closeMicrophone();
    this.stream = stream;
    this.#gateMicrophone();
    this.microphone = this.context.createMediaStreamSource(stream);
    this.microphone.connect(this.node);
    return stream.getAudioTracks()[0];
  }

  closeMicrophone() {
    this.microphone?.disconnect();
    this.stream?.getTracks().forEach((track) => track.stop());
    this.microphone = this.stream = undefined;
  }

  /** Holds for a microphone that is opened later, too. */
  set muted(muted) {
    this.isMuted = muted;
    this.#gateMicrophone();
  }

  #gateMicrophone() {
    this.stream?.getTracks().forEach((track) => (track.enabled = !this.isMuted));
  }

  /** @param {string} deviceId "" is the system's choice. Rejects when it is refused or missing; does nothing before ``start``. */
  async useSpeaker(deviceId) {
    if (Audio.hasSpeakers && this.context && this.context.sinkId !== deviceId) await this.context.setSinkId(deviceId);
  }

  /** A recording in the microphone's place, softly heard too. Resolves when it is over or was stopped. */
  async playRecording(url) {
    this.stopped = false;
    const answer = await fetch(url);
    if (!answer.ok) throw new Error(`${url}: ${answer.status} ${answer.statusText}`);
    const buffer = await this.context.decodeAudioData(await answer.arrayBuffer());
    if (this.stopped) return;
    const source = new AudioBufferSourceNode(this.context, { buffer });
    const soft = new GainNode(this.context, { gain: 0.4 });
    this.microphone?.disconnect();
    source.connect(this.node);
    source.connect(soft).connect(this.context.destination);
    this.recording = source;
    await new Promise((resolve) => {
      source.onended = resolve;
      source.start();
    });
    this.recording = undefined;
    source.disconnect();
    this.microphone?.connect(this.node);
  }

  stopRecording() {
    this.stopped = true;
    this.recording?.stop();
  }

  /** @param {Int16Array} pcm at 16 kHz, to be heard from ``startMs`` to ``endMs`` of the session's clock */
  play(pcm, startMs, endMs) {
    this.node?.port.postMessage({ kind: "voice", pcm, startMs, endMs }, [pcm.buffer]);
  }

  /** What is still to be heard is cut off after ``mostMs``. */
  keep(mostMs) {
    this.node?.port.postMessage({ kind: "keep", mostMs });
  }

  restart() {
    this.node?.port.postMessage({ kind: "restart" });
  }
}
