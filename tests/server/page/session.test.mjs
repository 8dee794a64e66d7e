// The session's states: what is sent when, what is kept for later, and how a lost line is taken up again.
import assert from "node:assert/strict";
import { test } from "node:test";
import { LiveSession } from "./session.js";

/** A session over a line that the test holds in its hands. */
function newSession() {
  const transport = { refusal: "no answer", sent: [], opened: 0, accepts: true };
  transport.open = () => transport.opened++;
  transport.send = (event) => transport.accepts && transport.sent.push(event) > 0;
  transport.close = () => (transport.closed = true);
  const calls = [];
  const handlers = Object.fromEntries(
    ["onState", "onStarted", "onVoice", "onText", "onTurn", "onError"].map((name) => [name, (...args) => calls.push([name, ...args])]),
  );
  const clock = { ms: 0, tasks: [] };
  const later = (task, ms) => clock.tasks.push([clock.ms + ms, task]);
  const session = new LiveSession(transport, handlers, later, () => clock.ms);
  clock.run = () => {
    const [ms, task] = clock.tasks.shift();
    clock.ms = Math.max(clock.ms, ms);
    task();
  };
  return { session, transport, calls, clock };
}

const started = (id, token) => ({ type: "session.started", session: { id, microturn: token && { resume_token: token } } });

function liveSession(token) {
  const all = newSession();
  all.session.start();
  all.transport.onOpen();
  all.transport.onEvent(started("sess_1", token));
  return all;
}

const types = (transport) => transport.sent.map((event) => event.type);

test("it asks for turns at 16 kHz, and is live once the server says so", () => {
  const { session, transport, calls } = liveSession();
  assert.deepEqual(transport.sent[0], {
    type: "session.start",
    session: { model: "default", audio: { format: { type: "audio/pcm", rate: 16000 } }, microturn: { turns: true, resumable: true } },
  });
  assert.equal(session.state, "live");
  assert.deepEqual(calls.map(([name, state]) => [name, state]), [["onState", "connecting"], ["onStarted", undefined], ["onState", "live"]]);
});

test("what is typed before the line stands is sent when it does; sound is not", () => {
  const { session, transport, calls } = newSession();
  session.start();
  session.sendText("say red");
  session.sendAudio(new Int16Array(320));
  assert.deepEqual(transport.sent, []);
  transport.onOpen();
  assert.ok(!calls.some(([name]) => name === "onText"), "shown before it was sent");
  transport.onEvent(started("sess_1"));
  assert.deepEqual(types(transport), ["session.start", "session.input_text.append"]);
  assert.deepEqual(calls.at(-1), ["onText", "typed", "say red"]);
});

test("a session can begin muted", () => {
  const { session, transport } = newSession();
  session.start();
  session.mute(true);
  transport.onOpen();
  transport.onEvent(started("sess_1"));
  assert.deepEqual(types(transport), ["session.start", "session.input_audio.mute"]);
});

test("a muted session sends no sound, and says mute once", () => {
  const { session, transport } = liveSession();
  session.mute(true);
  session.mute(true);
  session.sendAudio(new Int16Array(320));
  session.mute(false);
  session.sendAudio(new Int16Array(320));
  assert.deepEqual(types(transport).slice(1), ["session.input_audio.mute", "session.input_audio.unmute", "session.input_audio.append"]);
});

test("acknowledgements come every 200 ms, never go back, and a drop is told at once", () => {
  const { session, transport } = liveSession();
  for (const ms of [100, 250.7, 300, 460]) session.acknowledge(ms);
  session.acknowledge(470, true);
  session.acknowledge(100, true);
  const acks = transport.sent.slice(1).map(({ heard_until_ms, dropped }) => [heard_until_ms, dropped]);
  assert.deepEqual(acks, [[250, false], [460, false], [470, true], [470, true]]);
});

test("server events reach the page in its words", () => {
  const { transport, calls } = liveSession();
  calls.length = 0;
  transport.onEvent({ type: "session.input_transcript.delta", delta: " red", start_ms: 0, end_ms: 200 });
  transport.onEvent({ type: "session.output_transcript.delta", delta: " blue", start_ms: 400, end_ms: 600 });
  transport.onEvent({ type: "session.output_audio.delta", delta: btoa("\x01\x00\xff\xff"), start_ms: 400, end_ms: 600 });
  transport.onEvent({ type: "session.turn", turn: 1, end_ms: 400 });
  transport.onEvent({ type: "error", error: { message: "too long" } });
  transport.onEvent({ type: "something.new" });
  assert.deepEqual(calls, [
    ["onText", "heard", " red", 200], ["onText", "said", " blue", 400], ["onVoice", Int16Array.from([1, -1]), 400, 600],
    ["onTurn", { type: "session.turn", turn: 1, end_ms: 400 }], ["onError", "too long"],
  ]);
});

test("a lost line is opened again, ever more slowly, and the session resumed where it was", () => {
  const { session, transport, calls, clock } = liveSession("token");
  transport.onEvent({ type: "session.turn", turn: 4, end_ms: 1000 });
  transport.onClose("");
  assert.equal(session.state, "resuming");
  session.sendText("say red");
  clock.run();
  transport.onClose("");
  clock.run();
  assert.deepEqual([transport.opened, clock.ms], [3, 900]);
  transport.onOpen();
  assert.deepEqual(transport.sent.at(-1), { type: "session.resume", session_id: "sess_1", resume_token: "token", received_ms: 1000 });
  transport.onEvent(started("sess_1", "next"));
  assert.equal(session.state, "live");
  assert.equal(transport.sent.at(-1).text, "say red");
  assert.equal(calls.filter(([name]) => name === "onStarted").length, 1, "the clock goes on");
});

test("where the server knows the session no more, another is begun and the person is told", () => {
  for (const token of ["token", undefined]) {
    const { session, transport, calls, clock } = liveSession(token);
    transport.onClose("");
    clock.run();
    transport.onOpen();
    if (token) transport.onEvent({ type: "error", error: { code: "unsupported", message: "cannot resume" } });
    assert.equal(transport.sent.at(-1).type, "session.start");
    transport.onEvent(started("sess_2"));
    assert.equal(session.state, "live");
    assert.deepEqual(calls.at(-1), ["onState", "live", "The line was lost; this is a new session."]);
    assert.equal(calls.filter(([name]) => name === "onStarted").length, 2);
  }
});

test("after a minute it gives up", () => {
  const { session, transport, calls, clock } = liveSession("token");
  transport.onClose("");
  for (let tries = 0; session.state === "resuming" && tries < 100; tries++) {
    clock.run();
    transport.onClose("");
  }
  assert.equal(session.state, "ended");
  assert.match(calls.at(-1)[2], /minute/);
  assert.ok(clock.ms < 70_000);
});

test("a refusal ends it with the server's words, and no answer with the line's", () => {
  const refused = newSession();
  refused.session.start();
  refused.transport.onOpen();
  refused.transport.onEvent({ type: "error", error: { code: "busy", message: "busy: try again in 20 s" } });
  assert.deepEqual(refused.calls.at(-1), ["onState", "ended", "busy: try again in 20 s"]);
  const silent = newSession();
  silent.session.start();
  silent.transport.onClose("");
  assert.deepEqual(silent.calls.at(-1), ["onState", "ended", "no answer"]);
});

test("a line that takes the wish to end and does not answer is ended without it", () => {
  const silent = liveSession();
  silent.session.end();
  assert.equal(silent.session.state, "live", "the server is waited for");
  silent.clock.run();
  assert.deepEqual([silent.session.state, silent.transport.closed, silent.clock.ms], ["ended", true, 1500]);
  const lost = liveSession("token");
  lost.session.end();
  lost.transport.onClose("");
  lost.clock.run();
  assert.equal(lost.session.state, "ended", "it is not taken up again");
  const full = liveSession();
  full.transport.accepts = false;
  full.session.end();
  assert.equal(full.session.state, "ended");
  const next = liveSession();
  next.session.end();
  next.transport.onEvent({ type: "session.closed", reason: "close_requested" });
  next.session.start();
  next.clock.run();
  assert.equal(next.session.state, "connecting", "the one that comes after it goes on");
});

test("the end: asked for, expired, or while the line is lost", () => {
  const asked = liveSession();
  asked.session.end();
  assert.equal(asked.transport.sent.at(-1).type, "session.close");
  asked.transport.onEvent({ type: "session.closed", reason: "close_requested" });
  assert.deepEqual(asked.calls.at(-1), ["onState", "ended", ""]);
  const expired = liveSession();
  expired.transport.onEvent({ type: "session.closed", reason: "expired" });
  assert.match(expired.calls.at(-1)[2], /time is over/);
  const lost = liveSession("token");
  lost.transport.onClose("");
  lost.session.end();
  lost.clock.run();
  assert.deepEqual([lost.session.state, lost.transport.opened], ["ended", 1]);
});
