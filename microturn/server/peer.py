"""WebRTC as a line: events on a data channel, both voices as Opus, pictures from a video track (docs/protocol.md)."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Coroutine
from contextlib import suppress
from functools import partial
from typing import Any

import numpy as np
from aioice import ice as checks
from aiortc import (
    MediaStreamTrack,
    RTCBundlePolicy,
    RTCConfiguration,
    RTCDataChannel,
    RTCPeerConnection,
    RTCRtpReceiver,
    RTCSessionDescription,
)
from aiortc.exceptions import InvalidStateError
from aiortc.mediastreams import MediaStreamError
from aiortc.sdp import SessionDescription
from aiortc.stats import RTCTransportStats
from av.audio.frame import AudioFrame
from av.video.frame import VideoFrame

from microturn.engine.slots import Turn
from microturn.media.wire import Resampler, SoundDecoder, picture_of
from microturn.server import guarded_video, wire
from microturn.server.limits import MAX_MESSAGE_BYTES
from microturn.server.line import ABNORMAL, Gone, Line, Senses
from microturn.server.metrics import Metrics
from microturn.server.prompt_buffer import PromptBuffer
from microturn.server.voice import VoiceTrack
from microturn.server.wire import EventError
from microturn.turn import SAMPLE_RATE_HZ, TURN_MS

CODECS = {"audio": ("audio/opus",), "video": ("video/vp8", "video/rtx")}
OPUS = re.compile(r"a=rtpmap:(\d+) opus/48000/2\r\n")
OPUS_PARAMETERS = "maxplaybackrate=16000;maxaveragebitrate=64000"
"""Of the user's voice. Chromium's own 32,000 bits a second for 24 kHz leave little of what is above 3 kHz as it was;
the ear goes to 8."""
CONNECT_SECONDS = 8.0
"""A client that has not opened its data channel by then does not get through."""
CHECK_SECONDS = 1.0
MAX_UNANSWERED = 4
"""So often is it asked whether a client is still there, and so often in a row may it not answer (for half a second)."""
MAX_CANDIDATES = 64
"""Every one of them is sent packets."""
CLOSE_SECONDS = 1.0
COUNT_SECONDS = 1.0
MAX_UNSENT_BYTES = 64 * 1024
MAX_UNREAD_BYTES = 2 * MAX_MESSAGE_BYTES
DEFAULT_MESSAGE_BYTES, LEAST_MESSAGE_BYTES = 64 * 1024, 1024
"""What a client takes in one message: if its offer does not say, and at least."""
PART_BYTES = 100
"""Of a part without its text; no character of that takes more than ``CHARACTER_BYTES``."""
CHARACTER_BYTES = 4
MAX_LOST_SAMPLES = SAMPLE_RATE_HZ
"""Of lost packets; whatever misses more was silent on purpose."""
YIELD_MS = 100
"""So much of the model's voice is still heard once it has yielded to the user."""
LOUD = 0.05
"""Peak from which on the user counts as speaking."""

# aioice asks every 5 s and gives a client up after six questions without an answer.
vars(checks).update(CONSENT_INTERVAL=CHECK_SECONDS, CONSENT_FAILURES=MAX_UNANSWERED)
guarded_video.install()


class Peer(Line):
    """A client's peer connection."""

    def __init__(
        self, connection: RTCPeerConnection, metrics: Metrics, max_message_bytes: int = DEFAULT_MESSAGE_BYTES
    ) -> None:
        """The client takes messages of ``max_message_bytes``, or of any length if that is 0."""
        self.voice = VoiceTrack()
        self._max_message_bytes = max_message_bytes
        self._connection = connection
        self._metrics = metrics
        self._channel: RTCDataChannel | None = None
        self._tracks: list[MediaStreamTrack] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._messages: asyncio.Queue[str | bytes | int] = asyncio.Queue()
        self._unread_bytes = 0
        self._counted = (0, 0)
        self._opened, self._left, self._room = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._decoder: SoundDecoder | None = None
        self._spoke = self._yielded = self._dropped = False
        connection.on("track", self._tracks.append)
        connection.on("datachannel", self._open)
        connection.on("connectionstatechange", self._changed)

    @classmethod
    async def called(cls, sdp: str, address: str, metrics: Metrics) -> Peer:
        """The peer that made this offer; it will be answered on ``address`` alone. Raises ``EventError``."""
        kinds, max_message_bytes = _offered(sdp)
        connection = RTCPeerConnection(RTCConfiguration(iceServers=[], bundlePolicy=RTCBundlePolicy.MAX_BUNDLE))
        peer = cls(connection, metrics, max_message_bytes)
        audio = connection.addTransceiver(peer.voice, "sendrecv")
        transceivers = {"audio": audio}
        if "video" in kinds:
            transceivers["video"] = connection.addTransceiver("video", "recvonly")
        for kind, transceiver in transceivers.items():
            vars(transceiver.receiver)["_RTCRtpReceiver__jitter_buffer"] = PromptBuffer(kind)
            capabilities = RTCRtpReceiver.getCapabilities(kind)
            assert capabilities is not None
            codecs = [one for one in capabilities.codecs if one.mimeType.lower() in CODECS[kind]]
            transceiver.setCodecPreferences(codecs)
        # Of its own aiortc binds to every address but loopback: we stay where the client has reached us.
        ice: Any = audio.sender.transport.transport.iceGatherer._connection
        gather = ice.get_component_candidates
        ice.get_component_candidates = lambda component, addresses: gather(component, [address])
        try:
            await connection.setRemoteDescription(RTCSessionDescription(sdp, "offer"))
            await connection.setLocalDescription(await connection.createAnswer())
        except Exception as error:  # whatever an offer makes it stumble over
            await peer.release()
            raise _bad(str(error) or type(error).__name__) from error
        return peer

    @property
    def answer(self) -> str:
        """The SDP that answers the offer."""
        return OPUS.sub(rf"\g<0>a=fmtp:\1 {OPUS_PARAMETERS}\r\n", self._connection.localDescription.sdp)

    # Messages.

    async def receive(self) -> str | bytes | int:
        message = await self._messages.get()
        if not isinstance(message, int):
            self._unread_bytes -= len(message)
        return message

    async def send(self, text: str) -> None:
        await self._opened.wait()
        for message in _messages(text, self._max_message_bytes):
            channel = self._channel
            if channel is None or self._left.is_set():
                raise Gone
            try:
                channel.send(message)
            except (InvalidStateError, ValueError, ConnectionError) as error:
                raise Gone from error
            while channel.bufferedAmount > MAX_UNSENT_BYTES and not self._left.is_set():
                self._room.clear()
                await self._room.wait()

    async def close(self, code: int) -> None:
        if self._channel is None or self._left.is_set():
            raise Gone
        # What was sent goes out before the channel closes.
        self._channel.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._left.wait()

    def begin(self, senses: Senses) -> None:
        for track in self._tracks:
            self._start(self._listen(track, senses) if track.kind == "audio" else self._watch(track, senses))
        self._start(self._follow())
        self._start(self._expect())

    async def release(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._count()
        self.voice.stop()
        await self._connection.close()

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.append(asyncio.create_task(work))

    def _open(self, channel: RTCDataChannel) -> None:
        if self._channel is not None:
            channel.close()
            return
        self._channel = channel
        channel.bufferedAmountLowThreshold = MAX_UNSENT_BYTES // 2
        channel.on("message", self._take_in)
        channel.on("close", self._leave)
        channel.on("bufferedamountlow", self._room.set)
        self._opened.set()

    def _take_in(self, message: str | bytes) -> None:
        self._unread_bytes += len(message)
        if self._unread_bytes > MAX_UNREAD_BYTES:
            self._leave()
        else:
            self._messages.put_nowait(message)

    def _changed(self) -> None:
        if self._connection.connectionState in ("failed", "closed"):
            self._leave()

    def _leave(self) -> None:
        self._messages.put_nowait(ABNORMAL)
        for event in (self._left, self._opened, self._room):
            event.set()

    async def _expect(self) -> None:
        """Give up a client that does not get through."""
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await self._opened.wait()
        except TimeoutError:
            self._leave()

    # Voices and pictures.

    async def _listen(self, track: MediaStreamTrack, senses: Senses) -> None:
        resampler: Resampler | None = None
        next_sample = 0
        with suppress(MediaStreamError):
            while True:
                frame = await track.recv()
                assert isinstance(frame, AudioFrame) and frame.pts is not None
                samples = frame.to_ndarray().reshape(-1, frame.layout.nb_channels).mean(axis=1).astype(np.int16)
                lost_samples = frame.pts - next_sample if resampler is not None else 0
                resampler = resampler or Resampler(frame.sample_rate, SAMPLE_RATE_HZ)
                if 0 < lost_samples <= MAX_LOST_SAMPLES:
                    samples = np.pad(samples, (lost_samples, 0))
                next_sample = frame.pts + frame.samples
                senses.hear(resampler.push(samples).astype(np.float32) / 32768.0)

    async def _watch(self, track: MediaStreamTrack, senses: Senses) -> None:
        """The eye takes one picture a turn: of all that come, the newest when it is time for another."""
        loop = asyncio.get_running_loop()
        due_s = loop.time()
        with suppress(MediaStreamError):
            while True:
                frame = await track.recv()
                assert isinstance(frame, VideoFrame)
                if loop.time() >= due_s:
                    due_s = max(due_s + TURN_MS / 1000, loop.time())
                    senses.see(partial(picture_of, frame))

    def take(self, event: wire.ToClient) -> bool:
        if isinstance(event, wire.Started):
            audio_format = event.session.audio.format
            assert audio_format is not None
            self._decoder = SoundDecoder(audio_format.sound_format)
        if not isinstance(event, wire.OutputAudio):
            return False
        assert self._decoder is not None
        self.voice.push(self._decoder.push(event.delta), event.start_ms, event.end_ms)
        return True

    def take_turn(self, turn: Turn) -> None:
        user, speaking = turn.given.audio, turn.made.speaking
        if self._spoke and not speaking and user is not None and float(np.abs(user).max()) > LOUD:
            self._yielded = True
        self._spoke = speaking

    def played(self) -> tuple[int, bool] | None:
        if self._yielded and self.voice.keep(YIELD_MS):
            self._dropped = True
        dropped, self._yielded, self._dropped = self._dropped, False, False
        return int(self.voice.ends_ms if dropped else self.voice.heard_until_ms), dropped

    def drop_sound(self) -> bool:
        self._dropped = self.voice.keep(0) or self._dropped
        return True

    # What it costs.

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(COUNT_SECONDS)
            await self._count()

    async def _count(self) -> None:
        """Add what went over the wire since the last time."""
        for one in (await self._connection.getStats()).values():
            if isinstance(one, RTCTransportStats):
                sent, received = one.bytesSent, one.bytesReceived
                self._metrics.sent_bytes.inc(max(0, sent - self._counted[0]))
                self._metrics.received_bytes.inc(max(0, received - self._counted[1]))
                self._counted = (sent, received)


def _bad(cause: str) -> EventError:
    return EventError("invalid_offer", f"this offer cannot be answered: {cause}", param="transport.sdp")


def _messages(text: str, most_bytes: int) -> list[str]:
    """What an event is sent as: itself, or its parts."""
    if not most_bytes or len(text.encode()) <= most_bytes:
        return [text]
    step = (most_bytes - PART_BYTES) // CHARACTER_BYTES
    pieces = [text[start : start + step] for start in range(0, len(text), step)]
    return [wire.encode(wire.Part(index, len(pieces), piece)) for index, piece in enumerate(pieces)]


def _offered(sdp: str) -> tuple[list[str], int]:
    """What an offer's sections are, and how long a message may be (0: of any length). Raises ``EventError`` unless a
    session can be had over them."""
    try:
        sections = SessionDescription.parse(sdp).media
    except Exception as error:  # the parser has no error of its own
        raise _bad(f"it is no SDP ({str(error) or type(error).__name__})") from error
    kinds = [section.kind for section in sections]
    for kind, name in (("audio", "audio section"), ("application", "data channel")):
        if kind not in kinds:
            raise _bad(f"it has no {name}")
    if len(kinds) != len(set(kinds)):
        raise _bad("it has more than one section of a kind")
    if sum(len(section.ice_candidates) for section in sections) > MAX_CANDIDATES:
        raise _bad(f"it has more than {MAX_CANDIDATES} candidates")
    capabilities = sections[kinds.index("application")].sctpCapabilities
    max_message_bytes = DEFAULT_MESSAGE_BYTES if capabilities is None else capabilities.maxMessageSize
    if max_message_bytes and max_message_bytes < LEAST_MESSAGE_BYTES:
        raise _bad(f"its messages have less than {LEAST_MESSAGE_BYTES} bytes")
    return kinds, max_message_bytes
