/** The page: puts microphone, camera, session, voice and timeline together and hands what the person does to them. */
import { Audio } from "./audio.js";
import { Cards } from "./cards.js";
import { peaks } from "./pcm.js";
import { Recording } from "./recording.js";
import { LiveSession } from "./session.js";
import { Stage } from "./stage.js";
import { Clock, clockText } from "./timeline.js";
import { AnyTransport } from "./transport.js";
import { Transcript, deviceTrouble, element, showAlert, showButton, showDevices, showFigures, showLine, showStatus } from "./view.js";
import { Video } from "./video.js";

const CHUNK_MS = 20;
const FIGURES_EVERY_MS = 500;
const FIGURE_TURNS = 50;
const YIELD_MS = 70; // With what it takes to say so, the voice is silent within 100 ms.
const VISITED = "microturn-visited";
const SAYS = {
  idle: "Ready", connecting: "Connecting", live: "Live", resuming: "Connection lost; trying again", ended: "Ended",
};

let clock = new Clock();
let chunkMs; // Where the next 20 ms of both voices lie on the session's clock.
let microphone = "off"; // "off", "on" or "muted"
let paused = false;
let playing = false; // A recording is heard in the microphone's place, or will be.
let recording;
let delayMs;
let spoke = false; // Whether the model spoke in the last turn.
let unheard = false; // Whether some of its voice came while paused.
let computeMs = [];

const nowMs = () => (session.state === "live" || session.state === "resuming" ? clock.at(performance.now()) : endMs);
let endMs = 0;
const transport = new AnyTransport("/v1/live/sessions", () => [audio.outgoing, video.outgoing], (stream) => audio.playStream(stream));
const session = new LiveSession(transport, {
  onState, onStarted, onVoice, onText, onTurn, onJob, onError: showAlert,
});
const stage = new Stage(nowMs);
const transcript = new Transcript(element("transcript"));
const cards = new Cards(element("cards"));
const audio = new Audio(onReport);
const video = new Video(element("preview"), onPicture, () => showVideo());

// What the session tells.

function onState(state, why) {
  stage.live = state === "live" || state === "resuming";
  if (state === "ended") endMs = clock.at(performance.now());
  showStatus(paused && state === "live" ? "Paused" : SAYS[state], state);
  if (why) showAlert(why);
  showLine(transport.name);
  const open = stage.live;
  const focused = document.activeElement?.id;
  showButton("pause-button", { disabled: !open });
  showButton("record-button", { disabled: !open });
  element("end-button").hidden = !open;
  // The focus is not to be lost with the button that has it.
  if (!open && ["pause-button", "record-button", "end-button"].includes(focused)) element("microphone-button").focus();
  if (state === "ended") close();
}

/** A new session begins at 0. */
function onStarted() {
  [clock, chunkMs, delayMs, computeMs, spoke, unheard] = [new Clock(), undefined, undefined, [], false, false];
  clock.told(-1, performance.now());
  stage.timeline.clear();
  transcript.clear();
  cards.clear();
  audio.restart();
  if (recording) finishRecording();
}

function onVoice(pcm, startMs, untilMs) {
  if (paused) unheard = true;
  else audio.play(pcm, startMs, untilMs);
}

function onText(lane, text, ms = nowMs()) {
  stage.timeline.addText(lane, text, ms);
  transcript.add(lane, text, ms);
}

function onTurn(turn) {
  clock.told(turn.turn, performance.now());
  stage.timeline.addTurn(turn);
  recording?.addTurn(turn);
  computeMs = [...computeMs.slice(1 - FIGURE_TURNS), turn.compute_ms];
  // The model fell silent while the user speaks: it yields, and what still waits here must not go on for long.
  if (spoke && !turn.speaking && stage.timeline.speaks(nowMs())) audio.keep(YIELD_MS);
  spoke = turn.speaking;
  if (paused && spoke && transport.hasVoice) session.acknowledge(0, true);
}

/** What is being done beside the conversation: a bar, its words in the transcript, and a card for what it shows. */
function onJob(event) {
  const { type, job_id: id, offset_ms: ms, state, result, reason } = event;
  if (type === "session.job.state") {
    stage.timeline.setJob(event);
    transcript.add("job", state === "running" ? event.task : `${state}${reason ? `: ${reason}` : ""}`, ms);
  } else if (["spoken", "question"].includes(result.type)) transcript.add("job", result.text, ms);
  else if ("title" in result) cards.add(result, stage.timeline.jobs.get(id)?.task ?? "", ms);
}

// What the sound system tells.

function onReport(report) {
  if (report.kind === "dropped") return session.acknowledge(report.heardMs, true);
  if (!stage.live) return;
  if (paused) report.microphone.fill(0);
  else session.sendAudio(report.microphone);
  const latestMs = clock.at(performance.now()) - CHUNK_MS;
  chunkMs = chunkMs === undefined ? latestMs : chunkMs + CHUNK_MS;
  // The loudspeaker's clock runs on its own: follow it smoothly, and jump only where the page was held up.
  chunkMs = Math.abs(latestMs - chunkMs) > 100 ? latestMs : chunkMs + 0.02 * (latestMs - chunkMs);
  stage.timeline.addVoices(chunkMs, peaks(report.microphone, 2), peaks(report.played, 2));
  recording?.addVoices(report.microphone, report.played, report.lateTimes);
  if (report.playing) {
    delayMs = clock.at(performance.now()) - report.heardMs + audio.outputDelayMs;
    session.acknowledge(report.heardMs);
  }
}

async function onPicture(canvas) {
  if (!stage.live || paused) return;
  const ms = nowMs();
  if (transport.hasPictures) video.send();
  else session.sendPicture(await video.jpeg(), ms);
  if (stage.timeline.hasRoomForPicture(ms)) stage.timeline.addPicture(ms, await createImageBitmap(canvas));
}

// What the person does.

/** A session, begun if there is none; sound is opened too, so call it from a click or a key. */
async function begin() {
  hideWelcome();
  showAlert("");
  try {
    await audio.start();
    chooseSpeaker();
  } catch (error) {
    showAlert(`The sound system could not be opened: ${error.message}. Typing still works; the answers stand in the timeline.`);
  }
  if (session.state !== "idle" && session.state !== "ended") return;
  session.start();
  // Without a sound system nothing would come in: that is quiet, and not a line with gaps.
  session.mute(!audio.running);
}

/** What ends with the session. */
function close() {
  audio.stopRecording();
  audio.closeMicrophone();
  video.stop();
  setMicrophone("off");
  [paused, audio.paused] = [false, false];
  if (recording) finishRecording();
  showVideo();
  showButton("pause-button", { on: false, icon: "pause", name: "Pause" });
}

/** Another microphone is as muted as the one before; one that is allowed after the session's end is closed again. */

async function openMicrophone() {
  await begin();
  try {
    const track = await audio.openMicrophone(element("microphone-choice").value);
    track.onended = () => {
      setMicrophone("off");
      showAlert("The microphone is gone. Choose another under Devices; typing still works.");
    };
    if (session.isOpen) setMicrophone(microphone === "muted" ? "muted" : "on");
    else audio.closeMicrophone();
  } catch (error) {
    showAlert(deviceTrouble("microphone", error));
  }
  showDevices();
}

/** @param {"off"|"on"|"muted"} state */
function setMicrophone(state) {
  microphone = state;
  audio.muted = state === "muted";
  tellMute();
  const name = { off: "Start talking", on: "Mute", muted: "Unmute" }[state];
  showButton("microphone-button", { on: state !== "off", icon: state === "muted" ? "muted" : "microphone", name });
}

/** Who is muted and plays a recording wants that to be heard. */
function tellMute() {
  session.mute(microphone === "muted" && !playing);
}

/** What was chosen under Devices, also before there was sound. */
async function chooseSpeaker() {
  try {
    await audio.useSpeaker(element("speaker-choice").value);
  } catch (error) {
    showAlert(deviceTrouble("loudspeaker", error));
  }
}

/** Nothing is played; the session's clock goes on, with gaps by the WebSocket, which is sent nothing, and quiet turns by a track. */
function togglePause() {
  paused = !paused;
  audio.paused = paused;
  if (paused) audio.keep(0);
  else if (unheard) session.acknowledge(0, true);
  unheard = false;
  showButton("pause-button", { on: paused, icon: paused ? "resume" : "pause", name: paused ? "Resume" : "Pause" });
  showStatus(paused ? "Paused" : SAYS[session.state], paused ? "paused" : session.state);
}

async function toggleVideo(kind) {
  if (video.kind !== kind) return startVideo(kind);
  video.stop();
  showVideo();
}

async function startVideo(kind) {
  await begin();
  try {
    await video.start(kind, element("camera-choice").value);
    if (!session.isOpen) video.stop(); // It was allowed after the session's end.
  } catch (error) {
    showAlert(deviceTrouble(kind, error));
  }
  showVideo();
  showDevices();
}

function showVideo() {
  for (const kind of ["camera", "screen"]) showButton(`${kind}-button`, { pressed: video.kind === kind });
}

async function say(text) {
  await begin();
  session.sendText(text);
}

async function playRecording(name) {
  if (playing) return audio.stopRecording();
  playing = true;
  const title = document.querySelector(`[data-sample="${name}"] b`);
  const before = title.textContent;
  try {
    await begin();
    if (!audio.running || !session.isOpen) return;
    title.textContent = "Stop the recording";
    tellMute();
    await audio.playRecording(`/samples/${name}`);
  } catch (error) {
    showAlert(`The recording could not be played: ${error.message}.`);
  } finally {
    playing = false;
    title.textContent = before;
    if (microphone === "muted") tellMute();
  }
}

function toggleRecording() {
  if (recording) return finishRecording();
  recording = new Recording(nowMs());
  element("recording").hidden = true;
  showButton("record-button", { on: true, name: "Stop" });
}

function finishRecording() {
  for (const [id, blob] of [["recording-sound", recording.sound()], ["recording-turns", recording.lines()]]) {
    URL.revokeObjectURL(element(id).href);
    element(id).href = URL.createObjectURL(blob);
  }
  element("recording-length").textContent = clockText(recording.lengthMs);
  element("recording").hidden = false;
  recording = undefined;
  showButton("record-button", { on: false, name: "Record" });
  element("record-time").textContent = "";
}

function hideWelcome() {
  element("welcome").hidden = true;
  inStorage((storage) => storage.setItem(VISITED, "yes"));
}

/** What ``use`` gives; undefined where the browser keeps nothing for this page: it throws then as soon as it is asked. */
function inStorage(use) {
  try {
    return use(localStorage);
  } catch {
    return undefined;
  }
}

element("welcome").hidden = Boolean(inStorage((storage) => storage.getItem(VISITED)));
element("microphone-button").onclick = () => (microphone === "off" ? openMicrophone() : setMicrophone(microphone === "on" ? "muted" : "on"));
element("pause-button").onclick = togglePause;
element("camera-button").onclick = () => toggleVideo("camera");
element("screen-button").onclick = () => toggleVideo("screen");
element("record-button").onclick = toggleRecording;
element("end-button").onclick = () => session.end();
element("microphone-choice").onchange = () => microphone !== "off" && openMicrophone();
element("speaker-choice").onchange = chooseSpeaker;
for (const one of document.querySelectorAll("#speaker-choice, [for=speaker-choice]")) one.hidden = !Audio.hasSpeakers;
element("camera-choice").onchange = () => video.kind === "camera" && startVideo("camera");
element("tries").onclick = ({ target }) => {
  const { say: text, sample } = target.closest("button")?.dataset ?? {};
  if (text) say(text);
  if (sample) playRecording(sample);
};
element("composer").onsubmit = (event) => {
  event.preventDefault();
  const field = element("text");
  const text = field.value.trim();
  field.value = "";
  if (text) say(text);
};
element("screen-button").hidden = !navigator.mediaDevices?.getDisplayMedia;
navigator.mediaDevices?.addEventListener("devicechange", showDevices);
showDevices();
setInterval(async () => {
  element("figures").hidden = !stage.live;
  const waitedMs = await transport.waitedMs();
  if (waitedMs !== undefined) delayMs = waitedMs + audio.outputDelayMs;
  const middle = computeMs.toSorted((a, b) => a - b)[computeMs.length >> 1];
  const reaction = stage.timeline.reactions.at(-1);
  showFigures({ computeMs: middle, delayMs, reactionMs: reaction && reaction.toMs - reaction.fromMs });
  if (recording) element("record-time").textContent = clockText(recording.lengthMs);
  if (recording?.full) finishRecording();
}, FIGURES_EVERY_MS);
