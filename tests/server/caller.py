"""A WebRTC client in the test's own process: aiortc against the real server."""

from __future__ import annotations

import asyncio
import json
import re
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from fractions import Fraction
from typing import Any

import numpy as np
from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError
from av.audio.frame import AudioFrame
from av.video.frame import VideoFrame
from numpy.typing import NDArray

RATE_HZ = 48_000
FRAME_SAMPLES = RATE_HZ // 50
MAX_MESSAGE = re.compile(r"a=max-message-size:\d+\r\n")
CONFIG = {"model": "small", "microturn": {"turns": True, "resumable": True}}


class Microphone(MediaStreamTrack):
    """Sound in real time, silence after its end."""

    kind = "audio"

    def __init__(self, samples: NDArray[np.int16]) -> None:
        super().__init__()
        self._samples = samples
        self._num_frames = 0
        self._begun_s = 0.0

    async def recv(self) -> AudioFrame:
        now_s = asyncio.get_running_loop().time()
        self._begun_s = self._begun_s or now_s
        await asyncio.sleep(self._begun_s + self._num_frames / 50 - now_s)
        start = self._num_frames * FRAME_SAMPLES
        part = self._samples[start : start + FRAME_SAMPLES]
        part = np.pad(part, (0, FRAME_SAMPLES - len(part)))
        frame = AudioFrame.from_ndarray(part[None], format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = RATE_HZ, start, Fraction(1, RATE_HZ)
        self._num_frames += 1
        return frame


class Camera(MediaStreamTrack):
    """A picture of one colour, 15 times a second."""

    kind = "video"

    def __init__(self, colour: tuple[int, int, int]) -> None:
        super().__init__()
        self._picture = np.full((96, 128, 3), colour, np.uint8)
        self._num_frames = 0

    async def recv(self) -> VideoFrame:
        await asyncio.sleep(1 / 15)
        frame = VideoFrame.from_ndarray(self._picture, format="rgb24")
        frame.pts, frame.time_base = self._num_frames * 6000, Fraction(1, 90_000)
        self._num_frames += 1
        return frame


class Caller:
    """One call: what it was told, and what it heard (48 kHz, one array a frame)."""

    def __init__(self, *tracks: MediaStreamTrack) -> None:
        self.connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.heard: list[NDArray[np.int16]] = []
        self.events: list[dict[str, Any]] = []
        self._queue: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        self._listening: list[asyncio.Task[None]] = []
        for track in tracks:
            self.connection.addTrack(track)
        self.channel = self.connection.createDataChannel("events")
        self.longest_bytes = 0
        self._parts: list[str] = []
        self.channel.on("message", self._take)
        self.channel.on("close", lambda: self._queue.put_nowait(None))
        self.connection.on("track", lambda track: self._listening.append(asyncio.create_task(self._listen(track))))

    def _take(self, text: str) -> None:
        self.longest_bytes = max(self.longest_bytes, len(text.encode()))
        event = json.loads(text)
        if event["type"] == "session.part":
            assert event["index"] == len(self._parts)
            self._parts.append(event["text"])
            if len(self._parts) < event["count"]:
                return
            event = json.loads("".join(self._parts))
        self._parts = []
        self._queue.put_nowait(event)

    async def _listen(self, track: MediaStreamTrack) -> None:
        with suppress(MediaStreamError):
            while True:
                frame = await track.recv()
                assert isinstance(frame, AudioFrame)
                samples = frame.to_ndarray().reshape(-1, frame.layout.nb_channels)[:, 0]
                self.heard.append(samples.astype(np.int16))

    async def offer(self) -> str:
        """The SDP of an offer."""
        await self.connection.setLocalDescription(await self.connection.createOffer())
        return self.connection.localDescription.sdp

    async def call(self, port: int, **headers: str) -> tuple[int, dict[str, Any]]:
        """Post an offer with what ``first`` holds; when it is answered, the connection is being made."""
        sdp = MAX_MESSAGE.sub(self.max_message, await self.offer())
        offer = {"transport": {"type": "webrtc", "sdp": sdp}, **self.first}
        status, answer = await asyncio.to_thread(post, port, json.dumps(offer).encode(), **headers)
        if status == 201:
            sdp = answer["transport"]["sdp"]
            await self.connection.setRemoteDescription(RTCSessionDescription(sdp, "answer"))
        return status, answer

    first: dict[str, Any] = {"session": CONFIG}
    max_message = r"\g<0>"
    """What stands in the offer's place of how long a message may be."""

    def send(self, kind: str, **fields: Any) -> None:
        self.channel.send(json.dumps({"type": kind, **fields}))

    async def next(self, kind: str = "") -> dict[str, Any]:
        """The next event, or the next of its kind."""
        while True:
            async with asyncio.timeout(20):
                event = await self._queue.get()
            assert event is not None, "the channel was closed"
            self.events.append(event)
            if kind in ("", event["type"]):
                return event

    async def until_turn(self, turn: int) -> None:
        while (await self.next("session.turn"))["turn"] < turn:
            pass

    async def closed(self) -> None:
        """Wait until the server has closed the channel."""
        async with asyncio.timeout(20):
            while await self._queue.get() is not None:
                pass

    def of_kind(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["type"] == kind]

    async def leave(self) -> None:
        """Close the connection without a word."""
        for task in self._listening:
            task.cancel()
        await self.connection.close()


def post(port: int, body: bytes, **headers: str) -> tuple[int, dict[str, Any]]:
    headers = {"Content-Type": "application/json", **headers}
    request = urllib.request.Request(f"http://127.0.0.1:{port}/v1/live/sessions", body, headers)
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def silence() -> Microphone:
    return Microphone(np.zeros(0, np.int16))


@asynccontextmanager
async def calling(port: int, *tracks: MediaStreamTrack, **first: Any) -> AsyncIterator[Caller]:
    """A call that has begun; ``first`` is a session or a resume."""
    caller = Caller(*(tracks or (silence(),)))
    caller.first = first or caller.first
    try:
        status, answer = await caller.call(port)
        assert status == 201, answer
        started = await caller.next()
        assert started["type"] == "session.started" and started["session"] == answer["session"]
        yield caller
    finally:
        await caller.leave()
