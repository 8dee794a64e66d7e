"""The realtime protocol on a real socket: the openai package as it is, with the default weights."""

from __future__ import annotations

import asyncio
import base64
import wave
from collections.abc import Iterator
from typing import Any, cast

import numpy as np
import pytest
from openai import AsyncOpenAI, OpenAI

from microturn import load
from microturn.media.wire import SoundEncoder, SoundFormat
from microturn.server.app import SAMPLES
from microturn.turn import SAMPLE_RATE_HZ
from tests.server.conftest import running

SYNCHRONOUS = pytest.mark.filterwarnings("ignore:connect.. must be used as a context manager:DeprecationWarning")
"""What websockets says of the way in which the openai package calls it."""

STARTED = "input_audio_buffer.speech_started"
WRITTEN = "conversation.item.input_audio_transcription.completed"


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """A server of the default weights."""
    with running(model=load("nano")) as one:
        yield one


def base_url(port: int) -> str:
    return f"http://127.0.0.1:{port}/v1"


def of_kind(events: list[Any], kind: str) -> list[Any]:
    return [event for event in events if event.type == kind]


def test_a_typed_request_is_answered_aloud(port: int) -> None:
    async def talk() -> list[Any]:
        client = AsyncOpenAI(api_key="none", base_url=base_url(port))
        events: list[Any] = []
        async with asyncio.timeout(60), client.realtime.connect(model="small") as connection:
            await connection.session.update(session={"type": "realtime", "output_modalities": ["audio"]})
            item: dict[str, Any] = {"type": "message", "role": "user"}
            item["content"] = [{"type": "input_text", "text": "please say coffee"}]
            await connection.conversation.item.create(item=cast(Any, item))
            await connection.response.create()
            async for event in connection:
                events.append(event)
                if event.type == "response.done":
                    break
        return events

    events = asyncio.run(talk())
    assert [event.type for event in events[:4]] == [
        "session.created",
        "session.updated",
        "conversation.item.added",
        "conversation.item.done",
    ]
    assert not [event for event in events if event.type == "error"]
    (transcript,) = [one.transcript for one in events if one.type == "response.output_audio_transcript.done"]
    assert transcript.split() == ["coffee"]
    sound = b"".join(base64.b64decode(one.delta) for one in events if one.type == "response.output_audio.delta")
    samples = np.frombuffer(sound, "<i2").astype(np.float32) / 32768
    assert 0.3 < len(samples) / 24_000 < 3.0 and np.abs(samples).max() > 0.05
    assert events[-1].response.status == "completed"
    assert events[-1].response.output[0].content[0].transcript == transcript


def test_a_voice_is_heard_and_written(port: int) -> None:
    """The sample's first sentence in real time, as a telephone sends it."""

    async def talk() -> list[Any]:
        client = AsyncOpenAI(api_key="none", base_url=base_url(port))
        with wave.open(str(SAMPLES / "timer.wav")) as file:
            assert file.getframerate() == SAMPLE_RATE_HZ
            samples = np.frombuffer(file.readframes(6 * SAMPLE_RATE_HZ), "<i2")[:: file.getnchannels()]
        sound = samples.astype(np.float32) / np.float32(32768)
        encoder = SoundEncoder(SoundFormat("pcmu", 8000))
        mu_law: dict[str, Any] = {"format": {"type": "audio/pcmu"}}
        events: list[Any] = []
        async with asyncio.timeout(60), client.realtime.connect() as connection:
            config = {"type": "realtime", "audio": {"input": mu_law, "output": mu_law}}
            await connection.session.update(session=cast(Any, config))

            async def speak() -> None:
                for start in range(0, len(sound), SAMPLE_RATE_HZ // 25):
                    data = encoder.push(sound[start : start + SAMPLE_RATE_HZ // 25])
                    await connection.input_audio_buffer.append(audio=base64.b64encode(data).decode())
                    await asyncio.sleep(0.04)

            async def listen() -> None:
                async for event in connection:
                    events.append(event)

            listening = asyncio.create_task(listen())
            await speak()
            # The last words may be written before the last sound is sent, or after.
            while not 0 < len(of_kind(events, STARTED)) == len(of_kind(events, WRITTEN)):
                await asyncio.sleep(0.1)
            listening.cancel()
        return events

    events = asyncio.run(talk())
    assert not of_kind(events, "error")
    assert len(of_kind(events, STARTED)) == len(of_kind(events, "input_audio_buffer.speech_stopped"))
    # Which words depends on the weights, and on how the clock cuts the sound.
    assert all(one.transcript for one in of_kind(events, WRITTEN))


@SYNCHRONOUS
def test_the_synchronous_client(port: int) -> None:
    client = OpenAI(api_key="none", base_url=base_url(port))
    with client.realtime.connect(model="default") as connection:
        assert connection.recv().type == "session.created"
        connection.input_audio_buffer.append(audio=base64.b64encode(bytes(9600)).decode())
        connection.input_audio_buffer.commit()
        kinds = [connection.recv().type for _ in range(4)]
        connection.input_audio_buffer.clear()
        connection.response.cancel()
        last = [connection.recv(), connection.recv()]
    assert kinds == [
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
        "conversation.item.input_audio_transcription.completed",
    ]
    assert last[0].type == "input_audio_buffer.cleared"
    assert last[1].type == "error" and last[1].error.code == "response_cancel_not_active"


@SYNCHRONOUS
def test_a_model_that_is_not_served(port: int) -> None:
    client = OpenAI(api_key="none", base_url=base_url(port))
    with client.realtime.connect(model="gpt-realtime") as connection:
        event = connection.recv()
    assert event.type == "error" and event.error.code == "model_not_found"
