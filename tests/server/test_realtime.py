"""The realtime protocol without a socket: settings, items, responses, and a whole conversation."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from microturn.engine.slots import End
from microturn.server.dialect import FAULT, NORMAL, POLICY, RESTART, TRY_LATER
from microturn.server.realtime import ANSWER_TURNS, QUIET_TURNS, Realtime
from microturn.server.realtime_wire import UNSUPPORTED, VOCABULARY
from microturn.turn import TURN_SAMPLES, TextSource
from tests.server.conftest import FakeHost, service
from tests.server.realtime_client import (
    EXAMPLES,
    ITEM,
    NO_ITEM,
    NO_RESPONSE,
    NO_SOUND,
    PIECES,
    SOUND,
    TYPED,
    YIELD,
    begun,
    data_url,
    error_of,
    message,
    picture,
    plain,
    send,
    short,
    take,
)
from tests.server.test_wire import JSON

GOLDEN = Path(__file__).parent / "realtime.golden.jsonl"


@pytest.fixture
def realtime(host: FakeHost) -> Realtime:
    return begun(host)


# A session.


@pytest.mark.parametrize(("model", "code"), [("gpt-realtime", "model_not_found"), ("default", "busy")])
def test_a_session_that_cannot_be_had(host: FakeHost, model: str, code: str) -> None:
    host.busy = True
    realtime = Realtime(service(), host, model)
    error = error_of([plain(event) for event in realtime.greet()])
    assert error["code"] == code and host.seeds == []
    assert realtime.close_code == (POLICY if code == "model_not_found" else TRY_LATER)


def test_settings(realtime: Realtime, host: FakeHost) -> None:
    audio = {
        "input": {"format": {"type": "audio/pcmu"}, "turn_detection": {"type": "server_vad", "threshold": 0.5}},
        "output": {"format": {"type": "audio/pcma"}, "voice": "marin", "speed": 1.5},
    }
    config = {
        "type": "realtime",
        "model": "small",
        "instructions": "be brief",
        "audio": audio,
        "tools": [],
        "tracing": "auto",
    }
    (updated,) = send(realtime, "session.update", session=config)
    session = updated["session"]
    assert session["audio"]["input"]["format"] == {"type": "audio/pcmu", "rate": 8000}
    assert session["audio"]["input"]["turn_detection"] == {"type": "semantic_vad"}
    assert session["audio"]["output"] == {
        "format": {"type": "audio/pcma", "rate": 8000},
        "voice": "microturn",
        "speed": 1.0,
    }
    assert (session["instructions"], session["output_modalities"]) == ("be brief", ["audio"])
    # What is not given stays, and the same instructions are not read twice.
    (again,) = send(realtime, "session.update", session={"type": "realtime", "instructions": "be brief"})
    assert again["session"] == session
    assert [(one.source, one.text) for one in host.inbox.take(1024).texts] == [(TextSource.INSTRUCTIONS, "be brief")]
    send(realtime, "input_audio_buffer.append", audio=base64.b64encode(bytes([0xFF]) * 1600).decode())
    heard = host.inbox.take(0).audio
    assert heard is not None and np.abs(heard).max() < 0.01


@pytest.mark.parametrize(
    ("session", "code", "param"),
    [
        ({"type": "transcription"}, "invalid_value", "session.type"),
        ({"model": "other"}, "model_not_found", "session.model"),
        (
            {"audio": {"input": {"format": {"type": "audio/pcm", "rate": 8000}}}},
            "invalid_value",
            "session.audio.input.format.rate",
        ),
        ({"audio": {"output": {"format": {"type": "mp3"}}}}, "invalid_value", "session.audio.output.format.type"),
        ({"output_modalities": []}, "invalid_value", "session.output_modalities"),
        ({"tools": {}}, "invalid_value", "session.tools"),
    ],
)
def test_settings_that_cannot_be(realtime: Realtime, session: dict[str, Any], code: str, param: str) -> None:
    error = error_of(send(realtime, "session.update", session=session))
    assert (error["code"], error["param"], error["type"]) == (code, param, "invalid_request_error")


def test_ends(realtime: Realtime, host: FakeHost) -> None:
    assert error_of([plain(one) for one in realtime.stop()])["code"] == "stopping"
    assert realtime.close_code == RESTART
    failed = begun(host)
    assert error_of([plain(one) for one in failed.ended(End.FAILED)])["code"] == "internal_error"
    assert failed.close_code == FAULT
    expires = begun(host, max_session_ms=400)
    assert take(expires, 0) == []
    assert error_of(take(expires, 1))["code"] == "session_expired"
    assert expires.close_code == NORMAL and expires.start_timed_out() == []


# What the user says.


def test_what_is_heard_is_an_item_once_it_is_quiet(realtime: Realtime) -> None:
    started, delta = take(realtime, 5, hear=" Hello")
    assert (started["type"], started["audio_start_ms"]) == ("input_audio_buffer.speech_started", 300)
    assert (delta["delta"], delta["item_id"]) == ("Hello", started["item_id"])
    assert [one["delta"] for one in take(realtime, 6, hear=" there")] == [" there"]
    for turn in range(7, 6 + QUIET_TURNS):
        assert take(realtime, turn) == []
    events = take(realtime, 6 + QUIET_TURNS)
    assert short(events) == ["speech_stopped", "committed", *ITEM, "item.input_audio_transcription.completed"]
    assert (events[0]["audio_end_ms"], events[-1]["transcript"]) == (1200, "Hello there")
    assert {one.get("item_id", started["item_id"]) for one in events} == {started["item_id"]}
    assert short(take(realtime, 7 + QUIET_TURNS, hear=" again"))[0] == "speech_started"


def test_late_words_belong_to_what_was_said_before_the_model_began(realtime: Realtime) -> None:
    started, _ = take(realtime, 0, hear=" say")
    events = short(take(realtime, 1, speaking=True))
    assert events == ["speech_stopped", "committed", *ITEM, *PIECES, "output_audio.delta"]
    (late, _) = take(realtime, 2, hear=" red", speaking=True)
    assert (late["item_id"], late["delta"]) == (started["item_id"], " red")
    completed, _ = take(realtime, 3, speaking=True)
    assert completed["transcript"] == "say red"
    (item,) = send(realtime, "conversation.item.retrieve", item_id=started["item_id"])
    assert item["item"]["content"] == [{"type": "input_audio", "transcript": "say red"}]
    # A word that comes later interrupts.
    assert short(take(realtime, 4, hear=" stop", speaking=True))[0] == "speech_started"


def test_a_commit_waits_for_the_words_of_what_was_appended(realtime: Realtime, host: FakeHost) -> None:
    for _ in range(2):
        send(realtime, "input_audio_buffer.append", audio=SOUND)
    assert host.inbox.waiting_ms > 300
    assert short(send(realtime, "input_audio_buffer.commit")) == ["committed", *ITEM]
    (delta,) = take(realtime, 0, hear=" red")
    for turn in range(1, 3):
        assert take(realtime, turn) == []
    (completed,) = take(realtime, 3)
    assert (completed["item_id"], completed["transcript"]) == (delta["item_id"], "red")
    send(realtime, "input_audio_buffer.append", audio=SOUND)
    send(realtime, "input_audio_buffer.clear")
    assert host.inbox.waiting_ms == 0
    assert error_of(send(realtime, "input_audio_buffer.commit"))["code"] == NO_SOUND


def test_a_client_that_says_itself_where_the_user_begins_and_ends(realtime: Realtime) -> None:
    config = {"type": "realtime", "audio": {"input": {"turn_detection": None}}}
    (updated,) = send(realtime, "session.update", session=config)
    assert updated["session"]["audio"]["input"]["turn_detection"] is None
    take(realtime, 0, hear=" noise")
    assert short(send(realtime, "input_audio_buffer.clear")) == ["cleared"]
    delta = "item.input_audio_transcription.delta"
    send(realtime, "input_audio_buffer.append", audio=SOUND)
    assert short(take(realtime, 1, hear=" red")) == [delta]
    assert all(take(realtime, turn) == [] for turn in range(2, 3 + QUIET_TURNS))
    assert short(take(realtime, 9, hear=" car", speaking=True)) == [delta, *PIECES, "output_audio.delta"]
    _, added, _ = send(realtime, "input_audio_buffer.commit")
    assert added["item"]["content"][0]["transcript"] == "red car"


def test_a_clip_is_heard_turn_by_turn(realtime: Realtime, host: FakeHost) -> None:
    samples = np.full(24_000 // 2, 3000, "<i2")
    clip = {"type": "input_audio", "audio": base64.b64encode(samples.tobytes()).decode()}
    added, done = send(realtime, "conversation.item.create", item=message(clip))
    assert added["item"]["content"] == [{"type": "input_audio"}] and added["item"] == done["item"]
    again = send(realtime, "conversation.item.create", item=message(clip))
    assert error_of(again)["code"] == "rate_limit_exceeded"
    send(realtime, "input_audio_buffer.append", audio=SOUND)
    for turn in range(3):
        audio = host.inbox.take(0).audio
        assert audio is not None and np.abs(audio[: TURN_SAMPLES // 2]).max() > 0.08
        assert host.inbox.waiting_ms == 0
        events = take(realtime, turn, hear=" red" if turn == 2 else "")
    assert [one["item_id"] for one in events] == [added["item"]["id"]]
    assert host.inbox.take(0).audio is None
    send(realtime, "input_audio_buffer.append", audio=SOUND)
    assert host.inbox.waiting_ms > 100


@pytest.mark.parametrize("way", ["commit", "clip"])
def test_what_the_user_said_lasts_from_where_it_began(realtime: Realtime, way: str) -> None:
    for turn in range(50):
        take(realtime, turn)
    if way == "commit":
        send(realtime, "input_audio_buffer.append", audio=SOUND)
        send(realtime, "input_audio_buffer.commit")
    else:
        send(realtime, "conversation.item.create", item=message({"type": "input_audio", "audio": SOUND}))
    events = [one for turn in range(50, 60) for one in take(realtime, turn, hear=" red" if turn < 52 else "")]
    (usage,) = [one["usage"] for one in events if "usage" in one]
    assert usage == {"type": "duration", "seconds": 0.2}


def test_items_reach_the_model(realtime: Realtime, host: FakeHost) -> None:
    image = {**picture(data_url()), "detail": "low"}
    added, _ = send(realtime, "conversation.item.create", event_id="e", item=message(TYPED, image, id="first"))
    assert added["item"]["content"] == [TYPED, {"type": "input_image", "detail": "low"}]
    ((shown, at_ms, event_id),) = host.pictures
    assert (shown[:4], at_ms, event_id) == (b"\x89PNG", 0, "e")
    send(realtime, "conversation.item.create", item=message({"type": "input_text", "text": "rule"}, role="system"))
    said = {"type": "output_audio", "transcript": "blue"}
    (behind, _) = send(
        realtime, "conversation.item.create", item=message(said, role="assistant"), previous_item_id="first"
    )
    assert behind["previous_item_id"] == "first"
    (root, _) = send(realtime, "conversation.item.create", item=message(TYPED), previous_item_id="root")
    assert "previous_item_id" not in root
    assert [(one.source, one.text) for one in host.inbox.take(1024).texts] == [
        (TextSource.TYPED, "say red"),
        (TextSource.INSTRUCTIONS, "rule"),
        (TextSource.INSTRUCTIONS, "you said blue"),
        (TextSource.TYPED, "say red"),
    ]


@pytest.mark.parametrize(
    ("item", "previous", "code", "param"),
    [
        (message(TYPED, id="there"), None, "invalid_value", "item.id"),
        (message(TYPED), "nowhere", "item_not_found", "previous_item_id"),
        (
            message({"type": "input_image", "image_url": "http://a/b.png"}),
            None,
            "invalid_value",
            "item.content[0].image_url",
        ),
        (
            message({"type": "input_image", "image_url": "data:image/png;base64,*"}),
            None,
            "invalid_value",
            "item.content[0].image_url",
        ),
        (message({"type": "input_audio"}), None, "invalid_value", "item.content[0].audio"),
        (message({"type": "input_audio", "audio": "AAAA"}), None, "invalid_value", "item.content[0].audio"),
        (message(TYPED, {"type": "input_text"}), None, "invalid_value", "item.content[1]"),
        (message({"type": "input_audio", "audio": SOUND}, role="system"), None, "invalid_value", "item.content[0]"),
        (message({"type": "input_text", "text": "a" * 66_000}), None, "text_too_long", "item.content"),
        ({"type": "mcp_call"}, None, "invalid_value", "item.type"),
    ],
)
def test_items_that_cannot_be(
    realtime: Realtime, host: FakeHost, item: dict[str, Any], previous: str | None, code: str, param: str
) -> None:
    send(realtime, "conversation.item.create", item=message(id="there"))
    error = error_of(send(realtime, "conversation.item.create", item=item, previous_item_id=previous))
    assert (error["code"], error["param"]) == (code, param)
    assert host.inbox.take(1024).texts == () and host.pictures == []


def test_the_conversation_forgets_its_oldest_items(realtime: Realtime, host: FakeHost) -> None:
    for number in range(257):
        host.time_s += 1.0
        send(realtime, "conversation.item.create", item=message(id=f"i{number}"))
    assert error_of(send(realtime, "conversation.item.retrieve", item_id="i0"))["code"] == NO_ITEM
    long = {"type": "input_text", "text": "a" * 65_000}
    for number in range(5):
        host.inbox.take(10**6)
        send(realtime, "conversation.item.create", item=message(long, id=f"long{number}"))
    assert error_of(send(realtime, "conversation.item.retrieve", item_id="i256"))["code"] == NO_ITEM
    assert send(realtime, "conversation.item.retrieve", item_id="long4")[0]["item"]["content"] == [long]


# What the model says.


def test_a_response_begins_and_ends_with_the_voice(realtime: Realtime) -> None:
    events = take(realtime, 3, speaking=True, say=" red")
    assert short(events) == [*PIECES, "output_audio_transcript.delta", "output_audio.delta"]
    events += take(realtime, 4, speaking=True, say=" car")
    events += take(realtime, 5, sound=790)
    assert short(events)[-7:] == ["output_audio.delta", *YIELD]
    sound = b"".join(base64.b64decode(one["delta"]) for one in events if one["type"] == "response.output_audio.delta")
    assert len(sound) / 48_000 == pytest.approx(0.45, abs=0.002)
    response = events[-1]["response"]
    assert response["status"] == "completed" and response["output"][0]["status"] == "completed"
    assert response["output"][0]["content"] == [{"type": "output_audio", "transcript": "red car"}]
    assert {one["response_id"] for one in events if "response_id" in one} == {response["id"]}
    assert take(realtime, 6) == []
    assert take(realtime, 7, speaking=True)[0]["response"]["id"] != response["id"]


def test_a_response_of_words_alone(realtime: Realtime) -> None:
    send(realtime, "response.create", response={"output_modalities": ["text"], "metadata": {"a": "b"}})
    events = take(realtime, 0, speaking=True, say=" red") + take(realtime, 1, sound=790)
    assert short(events) == [*PIECES, "output_text.delta", "output_text.done", *YIELD[2:]]
    response = events[-1]["response"]
    assert response["output"][0]["content"] == [{"type": "output_text", "text": "red"}]
    assert (response["metadata"], response["output_modalities"]) == ({"a": "b"}, ["text"])
    assert "output_audio.delta" in short(take(realtime, 2, speaking=True))
    error = error_of(send(realtime, "conversation.item.truncate", item_id="item_1", audio_end_ms=0))
    assert error["code"] == "invalid_value"


def test_a_request_that_comes_after_the_answer_began_is_answered_by_it(realtime: Realtime) -> None:
    take(realtime, 0, speaking=True)
    assert send(realtime, "response.create", response={"metadata": {"a": "b"}}) == []
    done = take(realtime, 1)[-1]
    assert done["response"]["metadata"] == {"a": "b"}
    for turn in range(2, 2 + ANSWER_TURNS):
        assert take(realtime, turn) == []


def test_a_request_without_an_answer_ends_empty(realtime: Realtime, host: FakeHost) -> None:
    send(realtime, "response.create", response={"instructions": "say something"})
    assert host.inbox.take(1024).texts[0].text == "say something"
    for turn in range(ANSWER_TURNS - 1):
        assert take(realtime, turn) == []
    created, done = take(realtime, ANSWER_TURNS - 1)
    assert (created["response"]["status"], done["response"]["status"]) == ("in_progress", "completed")
    assert created["response"]["id"] == done["response"]["id"] and done["response"]["output"] == []
    assert send(realtime, "response.create") == []


def test_what_is_cancelled_is_not_sent_any_more(realtime: Realtime) -> None:
    take(realtime, 0, speaking=True, say=" red")
    assert error_of(send(realtime, "response.cancel", response_id="resp_9"))["code"] == NO_RESPONSE
    done = send(realtime, "response.cancel", response_id="resp_1")[-1]["response"]
    assert (done["status"], done["status_details"]["reason"]) == ("cancelled", "client_cancelled")
    assert done["output"][0]["status"] == "incomplete"
    assert take(realtime, 1, speaking=True, say=" car") == []
    assert take(realtime, 2, sound=790) == []
    assert short(take(realtime, 3, speaking=True))[0] == "created"


def test_what_was_not_heard_was_not_said(realtime: Realtime) -> None:
    for turn, word in enumerate([" one", " two", " three"]):
        take(realtime, turn, speaking=True, say=word)
    take(realtime, 3)
    send(realtime, "conversation.item.truncate", item_id="item_1", content_index=0, audio_end_ms=300)
    (item,) = send(realtime, "conversation.item.retrieve", item_id="item_1")
    assert item["item"]["content"] == [{"type": "output_audio", "transcript": "one two"}]
    assert (realtime.playback.heard.heard_ms, realtime.playback.heard.dropped_ms) == (300, 300)
    for index, end_ms, param in [(1, 0, "content_index"), (0, 611, "audio_end_ms")]:
        error = error_of(
            send(realtime, "conversation.item.truncate", item_id="item_1", content_index=index, audio_end_ms=end_ms)
        )
        assert (error["code"], error["param"]) == ("invalid_value", param)


def test_a_whole_conversation(realtime: Realtime) -> None:
    """Against a transcript that was read by a person. To write it anew, delete the file and run this twice."""
    transcript: list[dict[str, Any]] = []

    def do(kind: str, **fields: Any) -> None:
        transcript.append({"from": "client", "type": kind, **fields})
        transcript.extend({"from": "server", **event} for event in send(realtime, kind, **fields))

    def turn(number: int, **made: Any) -> None:
        transcript.append({"from": "model", "turn": number, **made})
        for event in take(realtime, number, **made):
            if event["type"] == "response.output_audio.delta":
                event["delta"] = f"{len(base64.b64decode(event['delta']))} bytes"
            transcript.append({"from": "server", **event})

    do("session.update", session={"type": "realtime", "instructions": "be brief", "output_modalities": ["audio"]})
    do("input_audio_buffer.append", audio=SOUND)
    turn(0, hear=" say")
    turn(1, hear=" red", speaking=True)
    turn(2, speaking=True, say=" red")
    turn(3)
    do("conversation.item.create", event_id="e1", item=message(TYPED, id="typed"))
    do("response.create")
    turn(4, speaking=True, say=" red")
    do("response.cancel", event_id="e2")
    do("response.cancel", event_id="e3")
    do("conversation.item.truncate", item_id="item_3", content_index=0, audio_end_ms=100)
    do("conversation.item.delete", item_id="typed")
    text = "".join(json.dumps(one) + "\n" for one in transcript)
    if not GOLDEN.exists():
        GOLDEN.write_text(text, encoding="utf-8")
        pytest.fail(f"{GOLDEN} was written: read it")
    assert text == GOLDEN.read_text(encoding="utf-8")


IDS = st.sampled_from(["item_1", "item_2", "a", "root"])
FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "item": st.builds(message, st.sampled_from([TYPED, {"type": "input_audio", "audio": SOUND}]), id=IDS) | JSON,
        "item_id": IDS,
        "previous_item_id": IDS,
        "audio_end_ms": st.integers(-1, 500),
        "audio": st.just(SOUND) | JSON,
        "session": st.just({"type": "realtime", "instructions": "a"}) | JSON,
        "response": st.just({}) | JSON,
    },
)
EVENTS = st.builds(
    lambda kind, fields: json.dumps({**EXAMPLES.get(kind, {}), **fields, "type": kind}),
    st.sampled_from(sorted(VOCABULARY.known | UNSUPPORTED)) | st.text(max_size=5),
    FIELDS,
)


@given(st.lists(EVENTS | st.text() | st.tuples(st.booleans(), st.sampled_from(["", " a"])), max_size=40))
def test_no_order_of_anything_breaks_the_protocol(steps: list[str | tuple[bool, str]]) -> None:
    """And every response that was created is done, once, before the next one is."""
    host = FakeHost()
    realtime = begun(host)
    events: list[dict[str, Any]] = []
    turn = 0
    for step in steps:
        host.time_s += 1.0
        if isinstance(step, str):
            events += [plain(event) for event in realtime.receive(step)]
            continue
        host.inbox.take(1024)
        events += take(realtime, turn, speaking=step[0], hear=step[1], say=step[1] if step[0] else "")
        turn += 1
    for _ in range(2):
        host.inbox.take(1024)
        events += take(realtime, turn)
        turn += 1
    marks = [one["response"]["id"] for one in events if one["type"] in ("response.created", "response.done")]
    assert marks[::2] == marks[1::2] and len(set(marks)) * 2 == len(marks)
    assert len({event["event_id"] for event in events}) == len(events)
    assert realtime.stop() and realtime.close_code == RESTART
