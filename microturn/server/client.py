"""A client of the live protocol that plays a recording to a server in real time and follows what comes back.

Sound that comes is placed where it could be played: not before it is here, nor before what came ahead of it has ended.
So delays are those that a person would have met, network and all. Times are on the client's clock, which begins when
the session has started.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import msgspec
import numpy as np
from numpy.typing import NDArray
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI

from microturn.errors import ServerError
from microturn.media.wire import decode_picture, encode_picture
from microturn.server import wire
from microturn.server.job_wire import JobEvent
from microturn.turn import SAMPLE_RATE_HZ, TURN_MS, TURN_SAMPLES, Act, Pcm, TextIn, TextSource, TurnInput, TurnOutput

PATH = "/v1/live/sessions"
CHUNK_MS = 20
CHUNK_SAMPLES = SAMPLE_RATE_HZ * CHUNK_MS // 1000
HELD_BACK_TURNS = 5
"""A turn is handed on so much later than it comes: sound that arrives in the meantime can still be placed in it."""
LOUD = 0.1
"""Peak, as a part of the loudest so far, from which on the user counts as speaking."""
PEAK_SAMPLES = SAMPLE_RATE_HZ // 100
SILENCE_SECONDS = 20.0
"""A server that says nothing for so long is given up."""


ServerEvent = (
    wire.Started
    | wire.Updated
    | wire.Muted
    | wire.Unmuted
    | wire.InstructionsAppended
    | wire.ThinkingAppended
    | wire.CommentaryAppended
    | wire.InputTranscript
    | wire.OutputTranscript
    | wire.OutputAudio
    | JobEvent
    | wire.TurnDone
    | wire.UsageUpdated
    | wire.Closed
    | wire.Info
    | wire.Error
)
_DECODER: msgspec.json.Decoder[ServerEvent] = msgspec.json.Decoder(ServerEvent)


def decoded(message: str | bytes) -> ServerEvent:
    """One event of a server as it came. Raises ``ServerError``."""
    try:
        return _DECODER.decode(message)
    except (msgspec.ValidationError, msgspec.DecodeError, UnicodeError) as error:
        raise ServerError(f"sent what is no event of this protocol ({error})") from error


@dataclass(frozen=True)
class Sent:
    """What goes out during one turn of the client's clock: 16-bit sound or none, a picture as a file, typed texts."""

    samples: NDArray[np.int16] | None = None
    picture: bytes | None = None
    texts: tuple[str, ...] = ()

    @classmethod
    def of(cls, given: TurnInput) -> Sent:
        """What a turn's input is on the wire."""
        samples = None if given.audio is None else np.round(given.audio * 32768).clip(-32768, 32767).astype(np.int16)
        picture = None if given.frame is None else encode_picture(given.frame)
        return cls(samples, picture, tuple(one.text for one in given.texts))

    def turn_input(self) -> TurnInput:
        """What the server can make of it."""
        return TurnInput(
            audio=None if self.samples is None else self.samples.astype(np.float32) / np.float32(32768),
            frame=None if self.picture is None else decode_picture(self.picture),
            texts=tuple(TextIn(TextSource.TYPED, text) for text in self.texts),
        )


class PlayedTrack:
    """The model's sound as a loudspeaker here would give it, cut into turns."""

    def __init__(self) -> None:
        self.end_sample = 0
        """Where the sound ends so far; nothing can be placed before it."""
        self._turns: dict[int, Pcm] = {}

    def place(self, pcm: Pcm, at_ms: float) -> int:
        """Play ``pcm`` at ``at_ms`` or as soon as what came before it has ended; returns its first sample."""
        start = max(self.end_sample, int(at_ms * SAMPLE_RATE_HZ / 1000))
        done = 0
        while done < len(pcm):
            turn, offset = divmod(start + done, TURN_SAMPLES)
            part = pcm[done : done + TURN_SAMPLES - offset]
            self._turns.setdefault(turn, np.zeros(TURN_SAMPLES, np.float32))[offset : offset + len(part)] = part
            done += len(part)
        self.end_sample = start + len(pcm)
        return start

    def take(self, turn: int) -> Pcm:
        """The sound of one turn; nothing more can be placed in it."""
        self.end_sample = max(self.end_sample, (turn + 1) * TURN_SAMPLES)
        return self._turns.pop(turn, np.zeros(TURN_SAMPLES, np.float32))


@dataclass
class Measured:
    """The figures of one session."""

    refused: str = ""
    """Why there was no session, if the server had no room."""
    compute_ms: list[float] = field(default_factory=list)
    margin_ms: list[float] = field(default_factory=list)
    delivery_ms: list[float] = field(default_factory=list)
    """From the end of a turn (by the server's clock, as far as it is known here) until it was here."""
    reply_ms: list[float] = field(default_factory=list)
    """From the end of what the user said or typed to the model's first sound, wherever it began to speak after it."""
    num_overlaps: int = 0
    """How often it began to speak while the user did."""
    num_gaps: int = 0

    @property
    def num_missed(self) -> int:
        """Turns that were done too late."""
        return sum(margin_ms < 0 for margin_ms in self.margin_ms)


TurnTaker = Callable[[TurnInput, TurnOutput, float], None]
"""Gets every turn in order: what was sent in it, what came of it, and what computing it took in milliseconds."""


class Player:
    """Plays ``sent`` to one session. ``take`` gets its turns; ``warn`` what the server had to object to."""

    def __init__(
        self,
        sent: Sequence[Sent],
        take: TurnTaker = lambda given, output, compute_ms: None,
        warn: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.measured = Measured()
        self._sent, self._take, self._warn = sent, take, warn
        self._track = PlayedTrack()
        self._waiting: list[wire.TurnDone] = []
        self._started_s = 0.0
        self._first_turn_s = 0.0
        self._asked_ms: float | None = None
        """Where the user's last utterance ended that has had no answer yet."""
        self._loudest = 0.0
        self._num_asked = 0
        """Turns of ``sent`` in which the user's words have been looked for."""

    async def run(self, client: ClientConnection, seed: int = 0) -> Measured:
        """Hold the session until everything was sent and its turns have come. Raises ``ServerError``."""
        config = wire.SessionConfig(
            model="default",
            audio=wire.Audio(format=wire.AudioFormat("audio/pcm", 16000)),
            microturn=wire.Extras(turns=True, seed=seed),
        )
        await client.send(wire.encode(wire.Start(session=config)))
        answer = await _next(client)
        if isinstance(answer, wire.Error) and answer.error.code == "busy":
            self.measured.refused = answer.error.message
            return self.measured
        if not isinstance(answer, wire.Started):
            raise ServerError(_objection(answer))
        self._started_s = time.monotonic()
        sending = asyncio.create_task(self._send(client))
        try:
            await self._receive(client)
        finally:
            sending.cancel()
            with suppress(asyncio.CancelledError, ConnectionClosed):
                await sending
        for turn in self._waiting:
            self._hand_on(turn)
        return self.measured

    async def _send(self, client: ClientConnection) -> None:
        for turn, sent in enumerate(self._sent):
            await self._until(turn * TURN_MS)
            if sent.picture is not None:
                await client.send(wire.encode(wire.AppendVideo(image=sent.picture, at_ms=turn * TURN_MS)))
            for text in sent.texts:
                await client.send(wire.encode(wire.AppendText(text=text)))
            for chunk in _chunks(sent.samples):
                # A chunk can be sent once it is recorded.
                await self._until(turn * TURN_MS + chunk.start + CHUNK_MS)
                await client.send(wire.encode(wire.AppendAudio(audio=chunk.data)))

    async def _until(self, at_ms: float) -> None:
        await asyncio.sleep(max(0.0, self._started_s + at_ms / 1000 - time.monotonic()))

    async def _receive(self, client: ClientConnection) -> None:
        closing = False
        while not isinstance(event := await _next(client), wire.Closed):
            now_ms = (time.monotonic() - self._started_s) * 1000
            if isinstance(event, wire.OutputAudio):
                self._play(np.frombuffer(event.delta, "<i2").astype(np.float32) / np.float32(32767), now_ms)
            elif isinstance(event, wire.TurnDone):
                self._turn(event)
                if event.turn >= len(self._sent) and not closing:
                    closing = True
                    await client.send(wire.encode(wire.Close()))
            elif isinstance(event, wire.Error | wire.Info):
                self._warn(_objection(event))
                if isinstance(event, wire.Error) and event.error.type == "server_error":
                    raise ServerError(_objection(event))
        if not closing:
            raise ServerError(f"the session was closed by the server ({event.reason})")

    def _play(self, pcm: Pcm, now_ms: float) -> None:
        begins = now_ms * SAMPLE_RATE_HZ / 1000 > self._track.end_sample
        start_ms = self._track.place(pcm, now_ms) * 1000 / SAMPLE_RATE_HZ
        if not begins:
            return
        self._look_for_words(start_ms)
        if self._asked_ms is not None:
            if start_ms >= self._asked_ms:
                self.measured.reply_ms.append(start_ms - self._asked_ms)
            else:
                self.measured.num_overlaps += 1
            self._asked_ms = None

    def _look_for_words(self, until_ms: float) -> None:
        """Find where the user's words ended that were sent before ``until_ms``."""
        while self._num_asked < min(len(self._sent), int(until_ms // TURN_MS) + 1):
            sent, start_ms = self._sent[self._num_asked], self._num_asked * TURN_MS
            self._num_asked += 1
            if sent.texts:
                self._asked_ms = start_ms
            if sent.samples is not None:
                peaks = np.abs(sent.samples.astype(np.float32)).reshape(-1, PEAK_SAMPLES).max(axis=1)
                self._loudest = max(self._loudest, float(peaks.max()))
                loud = np.flatnonzero(peaks > max(1.0, LOUD * self._loudest))
                if len(loud):
                    self._asked_ms = start_ms + (int(loud[-1]) + 1) * PEAK_SAMPLES * 1000 / SAMPLE_RATE_HZ

    def _turn(self, turn: wire.TurnDone) -> None:
        now_s = time.monotonic()
        if not self.measured.compute_ms:
            self._first_turn_s = now_s
        # The quickest turn is taken as on time: how long the network itself takes cannot be known from here.
        self.measured.delivery_ms.append((now_s - self._first_turn_s) * 1000 - turn.turn * TURN_MS)
        self.measured.compute_ms.append(turn.compute_ms)
        self.measured.margin_ms.append(turn.margin_ms)
        self.measured.num_gaps += turn.gap
        self._waiting.append(turn)
        if len(self._waiting) > HELD_BACK_TURNS:
            self._hand_on(self._waiting.pop(0))

    def _hand_on(self, turn: wire.TurnDone) -> None:
        sent = self._sent[turn.turn] if turn.turn < len(self._sent) else Sent()
        if turn.turn == 0:
            self._track.take(0)
        output = TurnOutput(
            turn=turn.turn,
            hear=turn.hear,
            say=turn.say,
            act=None if turn.act is None else Act(turn.act),
            speaking=turn.speaking,
            audio=self._track.take(turn.turn + 1),
        )
        self._take(sent.turn_input(), output, turn.compute_ms)


@dataclass(frozen=True)
class _Chunk:
    start: int
    """Milliseconds from the beginning of its turn."""
    data: bytes


def _chunks(samples: NDArray[np.int16] | None) -> Iterator[_Chunk]:
    for start in range(0, 0 if samples is None else len(samples), CHUNK_SAMPLES):
        assert samples is not None
        yield _Chunk(start * 1000 // SAMPLE_RATE_HZ, samples[start : start + CHUNK_SAMPLES].astype("<i2").tobytes())


def socket_address(url: str) -> str:
    """``url`` as that of a session: http(s) becomes ws(s), and the path may be left out. Raises ``ServerError``."""
    with suppress(ValueError):
        parts = urlsplit(url if "://" in url else f"ws://{url}")
        scheme = {"http": "ws", "https": "wss"}.get(parts.scheme, parts.scheme)
        if scheme in ("ws", "wss") and parts.hostname and parts.port != 0:
            parts.hostname.encode("idna")  # As the look-up of the name does, which says so with a ValueError, too.
            return f"{scheme}://{parts.netloc}{PATH if parts.path in ('', '/') else parts.path}"
    raise ServerError(f"{url}: not the address of a server, such as http://127.0.0.1:8000")


@asynccontextmanager
async def connected(
    url: str, api_key: str | None = None, certificate: str | None = None
) -> AsyncIterator[ClientConnection]:
    """A connection to a server; whatever goes wrong with it in the block is a ``ServerError`` that names ``url``."""
    address = socket_address(url)
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    try:
        context = ssl.create_default_context(cafile=certificate) if address.startswith("wss:") else None
        async with connect(
            address, additional_headers=headers, max_size=None, compression=None, ssl=context, proxy=None
        ) as client:
            yield client
    except InvalidStatus as error:
        raise ServerError(f"{url}: does not let this client in (HTTP {error.response.status_code})") from error
    except ConnectionClosed as error:
        raise ServerError(f"{url}: the connection ended ({error})") from error
    except (OSError, InvalidHandshake, InvalidURI, TimeoutError) as error:
        raise ServerError(f"{url}: cannot be reached ({error or type(error).__name__})") from error
    except ServerError as error:
        raise ServerError(f"{url}: {error}") from error


async def _next(client: ClientConnection) -> ServerEvent:
    try:
        async with asyncio.timeout(SILENCE_SECONDS):
            return decoded(await client.recv())
    except TimeoutError as error:
        raise ServerError(f"nothing came for {SILENCE_SECONDS:.0f} s") from error


def _objection(event: ServerEvent) -> str:
    if isinstance(event, wire.Error):
        return f"{event.error.code}: {event.error.message}"
    if isinstance(event, wire.Info):
        return f"{event.code}: {event.message}"
    return f"{type(event).__name__} came out of its turn"
