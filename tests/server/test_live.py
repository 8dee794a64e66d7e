"""The live protocol without a socket: every event in every state, what a turn becomes, and a whole conversation."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.live.server_event import ServerEvent
from pydantic import TypeAdapter

from microturn.background.office import Office
from microturn.background.offline import OfflineAgent
from microturn.background.tools import Tools
from microturn.engine.slots import End, Tick, Turn
from microturn.server import limits, wire
from microturn.server.dialect import FAULT, NORMAL, POLICY, RESTART, TRY_LATER, Phase
from microturn.server.live import Live
from microturn.turn import TURN_MS, TURN_SAMPLES, Act, TextSource, TurnInput, TurnOutput
from tests.server.conftest import FakeHost, service
from tests.server.test_wire import EVENTS

OURS = {"session.turn", "session.job.state", "session.job.result", "session.delegation.package"}
OPENAI: TypeAdapter[Any] = TypeAdapter(ServerEvent)

EXAMPLES: dict[str, dict[str, Any]] = {
    "session.start": {"session": {"model": "small"}},
    "session.update": {"session": {}},
    "session.input_audio.append": {"audio": base64.b64encode(bytes(4800)).decode()},
    "session.input_audio.mute": {},
    "session.input_audio.unmute": {},
    "session.instructions.append": {"content": "be brief", "delegation_id": None},
    "session.thinking.append": {"content": "it is late", "delegation_id": None},
    "session.commentary.append": {"content": "it is done", "delegation_id": None},
    "session.close": {},
    "session.input_video.append": {"image": base64.b64encode(b"picture").decode(), "at_ms": 7},
    "session.input_text.append": {"text": "hello"},
    "session.playback.ack": {"heard_until_ms": 0},
    "session.resume": {"session_id": "live_1", "resume_token": "secret", "received_ms": 0},
}
"""One legal event of every kind."""

ANSWERS = {
    "session.update": ["session.updated"],
    "session.input_audio.mute": ["session.input_audio.muted"],
    "session.input_audio.unmute": ["session.input_audio.unmuted"],
    "session.instructions.append": ["session.instructions.appended"],
    "session.thinking.append": ["session.thinking.appended"],
    "session.commentary.append": ["session.commentary.appended"],
    "session.close": ["session.closed"],
}
"""What they are answered with while a session is live; the others with nothing."""


def plain(event: wire.ToClient) -> dict[str, Any]:
    """An event as a client reads it; one that is not ours is one of the openai package's."""
    found: dict[str, Any] = json.loads(wire.encode(event))
    if found["type"] not in OURS:
        assert OPENAI.validate_json(wire.encode(event)).type == found["type"]
    return found


def send(live: Live, kind: str, **fields: Any) -> list[dict[str, Any]]:
    return [plain(event) for event in live.receive(json.dumps({"type": kind, **fields}))]


def started(live: Live, **session: Any) -> Live:
    (answer,) = send(live, "session.start", session={"model": "small", **session})
    assert answer["type"] == "session.started"
    return live


def turn_of(
    turn: int, *, speaking: bool = False, sound: int | None = None, given: TurnInput | None = None, **made: Any
) -> Turn:
    """A turn as the engine delivers it, with ``sound`` samples that are not silent."""
    audio = np.zeros(TURN_SAMPLES, np.float32)
    audio[: TURN_SAMPLES * speaking if sound is None else sound] = 0.25
    output = TurnOutput(turn=turn, **{"hear": "", "say": "", "act": None, **made}, speaking=speaking, audio=audio)
    given = TurnInput(audio=np.zeros(TURN_SAMPLES, np.float32)) if given is None else given
    tick = Tick(num_sessions=1, num_gaps=0, compute_ms=20.04, margin_ms=150.0, skipped_turns=0)
    return Turn(given, output, tick, waiting_ms=40, trimmed_ms=0, skipped_turns=0)


def take(live: Live, turn: Turn) -> list[dict[str, Any]]:
    return [plain(event) for event in live.take(turn)]


def error_of(events: list[dict[str, Any]]) -> dict[str, Any]:
    (event,) = events
    assert event["type"] == "error"
    error: dict[str, Any] = event["error"]
    return error


def test_there_is_an_example_of_every_event() -> None:
    assert EXAMPLES.keys() == wire.KNOWN


@pytest.mark.parametrize("kind", sorted(wire.KNOWN))
@pytest.mark.parametrize("phase", list(Phase))
def test_every_event_in_every_state(live: Live, phase: Phase, kind: str) -> None:
    if phase is not Phase.NEW:
        started(live)
    if phase is Phase.OVER:
        send(live, "session.close")
    answers = send(live, kind, event_id="mine", **EXAMPLES[kind])
    if phase is Phase.OVER:
        assert answers == []
        return
    if phase is Phase.NEW and kind == "session.start":
        assert [one["type"] for one in answers] == ["session.started"] and live.phase is Phase.LIVE
    elif phase is Phase.NEW:
        code = "session_not_found" if kind == "session.resume" else "session_not_started"
        assert error_of(answers)["code"] == code and live.phase is Phase.NEW
    elif kind in ("session.start", "session.resume"):
        assert error_of(answers)["code"] == "session_already_started" and live.phase is Phase.LIVE
    else:
        assert [one["type"] for one in answers] == ANSWERS.get(kind, [])
        assert live.phase is (Phase.OVER if kind == "session.close" else Phase.LIVE)
    assert all(one["client_event_id"] == "mine" for one in answers)


@pytest.mark.parametrize("kind", sorted(wire.UNSUPPORTED))
@pytest.mark.parametrize("is_live", [False, True])
def test_what_is_not_supported_says_so(live: Live, kind: str, is_live: bool) -> None:
    if is_live:
        started(live)
    assert error_of(send(live, kind))["code"] == "unsupported"


@pytest.mark.parametrize(
    ("session", "code", "param"),
    [
        ({"model": "gpt-live-1"}, "model_not_found", "session.model"),
        ({"audio": {"format": {"type": "audio/pcm", "rate": 8000}}}, "invalid_value", "session.audio.format.rate"),
        ({"audio": {"format": {"type": "audio/pcmu", "rate": 16000}}}, "invalid_value", "session.audio.format.rate"),
        ({"delegation": {"type": "responses", "responses": {}}}, "unsupported", "session.delegation.type"),
        ({"triggers": [{"a": 1}]}, "unsupported", "session.triggers"),
        ({"store": True}, "unsupported", "session.store"),
        ({"instructions": "a" * 263_000}, "text_too_long", "session"),
        ({"input": [{"role": "user", "content": [{"text": "a " * 131_500}]}]}, "text_too_long", "session"),
        ({"input": [{"role": "user", "content": []}]}, "invalid_value", "session.input[0].content"),
        ({"microturn": {"seed": -1}}, "invalid_value", "session.microturn.seed"),
    ],
)
def test_a_session_that_cannot_be_had(
    live: Live, host: FakeHost, session: dict[str, Any], code: str, param: str
) -> None:
    error = error_of(send(live, "session.start", session={"model": "small", **session}))
    assert (error["code"], error.get("param")) == (code, param)
    assert host.seeds == []
    started(live)


def test_a_server_that_is_full_says_when_to_come_back(live: Live, host: FakeHost) -> None:
    host.busy = True
    error = error_of(send(live, "session.start", session={"model": "default"}))
    assert (error["code"], error["type"], error["retry_after_ms"]) == ("busy", "server_error", 5000)
    host.busy = False
    started(live)


def test_a_start_that_is_refused_leaves_nothing_behind() -> None:
    office = Office(OfflineAgent(Tools()))
    live = Live(service(60_000, office), FakeHost())
    refused = {"model": "small", "delegation": {"type": "client"}, "store": True}
    assert error_of(send(live, "session.start", session=refused))["param"] == "session.store"
    (answer,) = send(live, "session.start", session={"model": "small"})
    assert answer["session"]["delegation"] is None
    office.close()


def test_what_a_session_is_started_with(live: Live, host: FakeHost) -> None:
    history = [{"role": role, "content": [{"text": f"{role} text"}]} for role in ("developer", "user", "assistant")]
    (answer,) = send(
        live,
        "session.start",
        session={
            "model": "default",
            "instructions": "be kind",
            "input": history,
            "audio": {"format": {"type": "audio/pcma", "rate": 8000}, "output": {"voice": {"id": "v"}}},
            "delegation": {"type": "client", "acknowledgement_delay_ms": 3},
            "safety_identifier": "x",
            "store": False,
            "microturn": {"turns": True, "seed": 7},
        },
    )
    session = answer["session"]
    assert session["audio"] == {"format": {"type": "audio/pcma", "rate": 8000}, "output": {"voice": "microturn"}}
    assert session["microturn"] == {"turns": True, "seed": 7, "turn_ms": 200}
    assert (session["id"], session["expires_at"], session["model"]) == ("live_1", 1_800_000_000, "small")
    assert host.seeds == [7]
    texts = host.inbox.take(1024).texts
    assert [(one.source, one.text) for one in texts] == [
        (TextSource.INSTRUCTIONS, "be kind"),
        (TextSource.INSTRUCTIONS, "developer text"),
        (TextSource.TYPED, "user text"),
        (TextSource.INSTRUCTIONS, "you said assistant text"),
    ]


def test_sound_reaches_the_turn(live: Live, host: FakeHost) -> None:
    started(live, audio={"format": {"type": "audio/pcm", "rate": 16000}})
    samples = (np.arange(TURN_SAMPLES) * 5).astype("<i2")
    for chunk in np.split(samples, 5):
        assert not send(live, "session.input_audio.append", audio=base64.b64encode(chunk.tobytes()).decode())
    audio = host.inbox.take(0).audio
    assert audio is not None and np.array_equal(audio, samples.astype(np.float32) / 32768)


def test_sound_that_is_not_whole_or_too_much(live: Live) -> None:
    started(live, audio={"format": {"type": "audio/pcm", "rate": 16000}})
    odd = error_of(send(live, "session.input_audio.append", audio=base64.b64encode(bytes(3)).decode()))
    assert (odd["code"], odd["param"]) == ("invalid_value", "audio")
    six_seconds = base64.b64encode(bytes(2 * 16_000 * 6)).decode()
    assert not send(live, "session.input_audio.append", audio=six_seconds)
    assert error_of(send(live, "session.input_audio.append", audio=six_seconds))["code"] == "rate_limit_exceeded"


def test_texts_have_their_sources_and_limits(live: Live, host: FakeHost) -> None:
    started(live)
    take(live, turn_of(4))
    (appended,) = send(live, "session.thinking.append", content="a b", delegation_id=None)
    assert (appended["start_ms"], appended["end_ms"]) == (1000, 1000)
    send(live, "session.commentary.append", content="c")
    send(live, "session.instructions.append", content="d")
    send(live, "session.input_text.append", text="e")
    sources = [one.source for one in host.inbox.take(1024).texts]
    assert sources == [TextSource.JOB, TextSource.JOB, TextSource.INSTRUCTIONS, TextSource.TYPED]
    for kind in ("thinking", "commentary", "instructions"):
        assert error_of(send(live, f"session.{kind}.append", content="a" * 4001))["code"] == "text_too_long"
    assert send(live, "session.input_text.append", text="a " * 10_000) == []
    assert error_of(send(live, "session.input_text.append", text="a " * 40_000))["code"] == "text_too_long"
    while send(live, "session.input_text.append", text="a " * 32_000) == []:
        pass
    assert error_of(send(live, "session.input_text.append", text="a " * 32_000))["message"].startswith("too much")


def test_a_picture_is_shown_with_its_time(live: Live, host: FakeHost) -> None:
    started(live)
    take(live, turn_of(0))
    image = base64.b64encode(b"picture").decode()
    assert send(live, "session.input_video.append", image=image, at_ms=90, event_id="p") == []
    assert send(live, "session.input_video.append", image=image) == []
    assert host.pictures == [(b"picture", 90, "p"), (b"picture", 200, None)]
    assert error_of(send(live, "session.input_video.append", image=image))["code"] == "rate_limit_exceeded"
    (failed,) = live.picture_failed(wire.EventError("invalid_picture", "picture is none of these"), "p")
    error = error_of([plain(failed)])
    assert (error["code"], error["client_event_id"]) == ("invalid_picture", "p")


def test_what_a_turn_becomes(live: Live) -> None:
    started(live, audio={"format": {"type": "audio/pcm", "rate": 16000}}, microturn={"turns": True})
    heard, said, sound, delegated, done = take(
        live, turn_of(3, speaking=True, hear=" red", say=" blue", act=Act.DELEGATE)
    )
    assert (heard["type"], heard["delta"]) == ("session.input_transcript.delta", " red")
    assert (heard["start_ms"], heard["end_ms"]) == (600, 800)
    assert (said["type"], said["delta"]) == ("session.output_transcript.delta", " blue")
    assert (said["start_ms"], said["end_ms"]) == (800, 1000)
    assert (sound["start_ms"], sound["end_ms"]) == (800, 1000)
    assert len(base64.b64decode(sound["delta"])) == 2 * TURN_SAMPLES
    assert (delegated["offset_ms"], delegated["delegation"]["target"]) == (800, "client")
    assert delegated["delegation"]["microturn"] == {"task": "red", "job_id": "dlg_3"}
    assert {key: done[key] for key in done if key not in ("type", "event_id")} == {
        "turn": 3,
        "start_ms": 600,
        "end_ms": 800,
        "hear": " red",
        "say": " blue",
        "act": "delegate",
        "speaking": True,
        "sound_end_ms": 1000,
        "gap": False,
        "picture": False,
        "waiting_ms": 40,
        "compute_ms": 20.04,
        "margin_ms": 150.0,
        "sessions": 1,
    }
    (unknown,) = send(live, "session.commentary.append", content="x", delegation_id="dlg_9")
    assert unknown["error"]["code"] == "delegation_not_found"
    (known,) = send(live, "session.commentary.append", content="x", delegation_id=delegated["delegation"]["id"])
    assert known["type"] == "session.commentary.appended"


def test_the_voice_ends_with_its_tail_and_silence_is_not_sent(live: Live) -> None:
    started(live, audio={"format": {"type": "audio/pcm", "rate": 16000}})
    (sound,) = take(live, turn_of(0, speaking=True))
    (tail,) = take(live, turn_of(1, sound=790))
    assert (tail["start_ms"], tail["end_ms"]) == (sound["end_ms"], 450)
    assert len(base64.b64decode(tail["delta"])) == 2 * 800
    assert take(live, turn_of(2)) == []


@pytest.mark.parametrize(("kind", "rate", "width"), [("audio/pcm", 24000, 2), ("audio/pcmu", 8000, 1)])
def test_sound_is_as_long_as_it_says(live: Live, kind: str, rate: int, width: int) -> None:
    started(live, audio={"format": {"type": kind, "rate": rate}})
    events = [one for turn in range(5) for one in take(live, turn_of(turn, speaking=turn < 4))]
    seconds = sum(len(base64.b64decode(one["delta"])) for one in events) / rate / width
    assert seconds == pytest.approx(4 * TURN_MS / 1000, abs=0.002)


def test_nobody_is_told_of_turns_who_did_not_ask(live: Live) -> None:
    started(live)
    assert take(live, turn_of(0)) == []


def test_usage_notices_and_expiry(host: FakeHost) -> None:
    live = started(Live(service(max_session_ms=11_000), host))
    (usage,) = take(live, turn_of(49))
    assert usage["usage"] == {"seconds": 10.0}
    late = turn_of(50)
    events = take(live, replace(late, trimmed_ms=300, skipped_turns=2))
    assert [one["code"] for one in events] == ["input_audio_trimmed", "turns_skipped"]
    (closed,) = take(live, replace(turn_of(54), trimmed_ms=300, skipped_turns=2))
    assert (closed["reason"], closed["usage"], live.close_code) == ("expired", {"seconds": 11.0}, NORMAL)
    assert take(live, turn_of(55)) == []


def test_what_was_heard_is_in_the_end(live: Live) -> None:
    started(live, audio={"format": {"type": "audio/pcm", "rate": 16000}})
    take(live, turn_of(0, speaking=True))
    send(live, "session.playback.ack", heard_until_ms=250, dropped=True)
    error = error_of(send(live, "session.playback.ack", heard_until_ms=401))
    assert (error["code"], error["param"]) == ("invalid_value", "heard_until_ms")
    (closed,) = send(live, "session.close", event_id="bye")
    assert closed["session"]["microturn"]["playback"] == {"sent_ms": 200, "heard_ms": 50, "dropped_ms": 150}
    assert (closed["reason"], closed["client_event_id"], live.close_code) == ("close_requested", "bye", NORMAL)


@pytest.mark.parametrize(
    ("end", "code", "close_code"), [(End.SLOW_READER, "slow_reader", TRY_LATER), (End.FAILED, "internal_error", FAULT)]
)
def test_the_engine_ends_a_session(live: Live, end: End, code: str, close_code: int) -> None:
    started(live)
    assert error_of([plain(one) for one in live.ended(end)])["code"] == code
    assert live.close_code == close_code and not live.ended(end)


def test_the_server_stops(live: Live, host: FakeHost) -> None:
    started(live)
    (closed,) = [plain(one) for one in live.stop()]
    assert (closed["type"], closed["reason"], live.close_code) == ("session.closed", "remote_hangup", RESTART)
    assert not live.stop()
    waiting = Live(service(), host)
    assert error_of([plain(one) for one in waiting.stop()])["code"] == "stopping"


def test_who_does_not_start_is_sent_away(live: Live, host: FakeHost) -> None:
    assert error_of([plain(one) for one in live.start_timed_out()])["code"] == "session_not_started"
    assert live.close_code == POLICY
    assert started(Live(service(), host)).start_timed_out() == []


def test_too_many_events_are_left_out_and_too_many_errors_end_it(live: Live, host: FakeHost) -> None:
    started(live)
    answers = [send(live, "session.input_audio.mute") for _ in range(int(limits.EVENTS_PER_SECOND))]
    assert error_of(answers[-1])["code"] == "rate_limit_exceeded"
    host.time_s += 1.0
    large = "x" * (limits.BYTES_PER_SECOND // 2)
    answers = [[plain(event) for event in live.receive(large)] for _ in range(3)]
    assert [error_of(one)["code"] for one in answers] == ["invalid_json", "invalid_json", "rate_limit_exceeded"]
    host.time_s += 1.0
    for _ in range(limits.MAX_ERRORS - 4):
        assert live.close_code is None
        send(live, "session.fly")
    assert live.close_code == POLICY and send(live, "session.close") == []


@given(st.lists(EVENTS | st.text() | st.integers(0, 3), max_size=40))
def test_no_order_of_anything_breaks_the_protocol(messages: list[str | int]) -> None:
    host = FakeHost()
    live = Live(service(), host)
    events: list[wire.ToClient] = []
    turn = 0
    for message in messages:
        host.time_s += 1.0
        if isinstance(message, str):
            events += live.receive(message)
            continue
        if live.phase is Phase.NEW:
            started(live)
        for _ in range(message):
            host.inbox.take(1024)
            events += live.take(turn_of(turn, speaking=True))
            turn += 1
    events += live.stop()
    assert live.phase is Phase.OVER and live.close_code is not None
    assert len({plain(event)["event_id"] for event in events}) == len(events)
