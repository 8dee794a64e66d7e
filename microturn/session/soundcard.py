"""The machine's sound card: a microphone whose sound becomes turns, and a loudspeaker for those of the model.

The card calls back in a thread of its own, which must never wait: what it brings and takes goes through deques, whose
ends are taken and added to in one step each, and everything else is done on the other side.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Literal

import numpy as np

from microturn.engine.inbox import Inbox
from microturn.errors import DeviceError
from microturn.media.typed import TypedText
from microturn.turn import SAMPLE_RATE_HZ, Pcm, TextIn, TextSource, TurnInput, TurnOutput

CUSHION_SAMPLES = SAMPLE_RATE_HZ * 40 // 1000
"""Silence before the first turn of an utterance, so that the next ones may be that much late."""
KEPT_SAMPLES = SAMPLE_RATE_HZ * 70 // 1000
"""What is still heard when the model yields: a word's end, not a word."""
FADE_SAMPLES = SAMPLE_RATE_HZ * 4 // 1000
FULL_SCALE = 32768.0
LOUD = 0.03
"""Peak of the user's sound from which on it may be speech."""
MAX_CAPTURED_CHUNKS = 4096

Direction = Literal["input", "output"]


def is_loud(given: TurnInput) -> bool:
    """Whether somebody may have spoken in a turn."""
    return given.audio is not None and float(np.abs(given.audio).max()) >= LOUD


class Microphone(Inbox):
    """An inbox that the sound card fills. ``typed`` comes in its turns."""

    def __init__(self, typed: Sequence[TypedText] = ()) -> None:
        super().__init__()
        self._captured: deque[Pcm] = deque(maxlen=MAX_CAPTURED_CHUNKS)
        self._typed = deque(sorted(typed, key=lambda one: one.turn))
        self._turn = 0

    def capture(self, sound: Pcm) -> None:
        """Called by the sound card."""
        self._captured.append(sound)

    def take(self, room_tokens: int) -> TurnInput:
        """The input of the next turn: whatever the card has brought until now."""
        while self._captured:
            self.push_sound(self._captured.popleft())
        while self._typed and self._typed[0].turn <= self._turn:
            self.push_text(TextIn(TextSource.TYPED, self._typed.popleft().text))
        self._turn += 1
        return super().take(room_tokens)


class Loudspeaker:
    """The model's sound on its way to the card. What waits is cut short when the model yields to the user."""

    def __init__(self) -> None:
        self.dropped_samples = 0
        """Sound that was cut off because the model yielded."""
        self.num_late = 0
        """How often the voice had to stop within an utterance because its next turn came too late."""
        self._arriving: deque[Pcm | None] = deque()
        """Sound, or ``None``: cut short what came before."""
        self._spoke = False
        # What follows belongs to the card's thread.
        self._waiting: deque[Pcm] = deque()
        self._dry = True

    def take(self, given: TurnInput, made: TurnOutput) -> None:
        """The sound of a turn is to be heard from now on."""
        begins, ends = made.speaking and not self._spoke, self._spoke and not made.speaking
        if begins:
            self._arriving.append(np.zeros(CUSHION_SAMPLES, np.float32))
        if ends and is_loud(given):
            self._arriving.append(None)
        elif made.speaking:
            self._arriving.append(made.audio)
        elif made.audio.any():
            self._arriving.append(made.audio[: int(np.flatnonzero(made.audio)[-1]) + 1])
        self._spoke = made.speaking

    def fill(self, out: Pcm) -> None:
        """The next samples for the card, silence where there are none. Called by the sound card."""
        while self._arriving:
            sound = self._arriving.popleft()
            if sound is None:
                self._cut_short()
            else:
                self._waiting.append(sound)
        done = 0
        while done < len(out) and self._waiting:
            sound = self._waiting.popleft()
            part = sound[: len(out) - done]
            out[done : done + len(part)] = part
            done += len(part)
            if len(part) < len(sound):
                self._waiting.appendleft(sound[len(part) :])
        out[done:] = 0.0
        ran_dry = done < len(out)
        self.num_late += ran_dry and self._spoke and not self._dry
        self._dry = ran_dry

    def _cut_short(self) -> None:
        if not self._waiting:
            return
        waiting = np.concatenate(self._waiting)
        self._waiting.clear()
        kept = waiting[:KEPT_SAMPLES].copy()
        fade = min(FADE_SAMPLES, len(kept))
        kept[len(kept) - fade :] *= np.linspace(1.0, 0.0, fade, dtype=np.float32)
        self._waiting.append(kept)
        self.dropped_samples += len(waiting) - len(kept)


class SoundCard:
    """A running microphone and loudspeaker; a context manager around the session.

    ``gone`` is called, in a thread of the card's, when one of them ends by itself. Raises ``DeviceError`` if there is
    no such device, or if it cannot do 16 kHz.
    """

    def __init__(self, input_device: str | None, output_device: str | None) -> None:
        self.num_lost = 0
        """How often the machine was too slow to take the microphone's sound."""
        self._library = _library()
        self._devices: dict[Direction, int | str | None] = {}
        self.names: dict[Direction, str] = {}
        self._find("input", input_device)
        self._find("output", output_device)
        self._streams: list[Any] = []
        self._ending = False

    def start(self, microphone: Microphone, loudspeaker: Loudspeaker, gone: Callable[[], None]) -> None:
        """Begin to listen and to play. Raises ``DeviceError``."""

        def capture(sound: Any, num_frames: int, time: Any, status: Any) -> None:
            self.num_lost += bool(status.input_overflow)
            microphone.capture(sound[:, 0].astype(np.float32) / np.float32(FULL_SCALE))

        def play(sound: Any, num_frames: int, time: Any, status: Any) -> None:
            loudspeaker.fill(sound[:, 0])

        def finished() -> None:
            if not self._ending:
                gone()

        kinds: dict[Direction, tuple[Any, Callable[..., None]]] = {
            "input": (self._library.InputStream, capture),
            "output": (self._library.OutputStream, play),
        }
        for direction, (stream, callback) in kinds.items():
            with _told(self.names[direction], "cannot be opened", self._library):
                self._streams.append(
                    stream(
                        samplerate=SAMPLE_RATE_HZ,
                        channels=1,
                        dtype=_TYPES[direction],
                        latency="low",
                        device=self._devices[direction],
                        callback=callback,
                        finished_callback=finished,
                    )
                )
                self._streams[-1].start()

    def __enter__(self) -> SoundCard:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ending = True
        for stream in self._streams:
            stream.close()

    def _find(self, direction: Direction, wanted: str | None) -> None:
        """Look the device up, and whether it can do what is needed."""
        device: int | str | None = int(wanted) if wanted is not None and wanted.isdecimal() else wanted
        try:
            found = self._library.query_devices(device, direction)
        except (ValueError, self._library.PortAudioError) as error:
            raise DeviceError(f"{self._missing(direction, wanted)}: {self._choice(direction)}") from error
        self._devices[direction], self.names[direction] = device, str(found["name"])
        check = self._library.check_input_settings if direction == "input" else self._library.check_output_settings
        with _told(str(found["name"]), f"cannot {_VERBS[direction]} one channel of 16 kHz", self._library):
            check(device=device, channels=1, dtype=_TYPES[direction], samplerate=SAMPLE_RATE_HZ)

    def _missing(self, direction: Direction, wanted: str | None) -> str:
        if wanted is None:
            return f"this machine has no default sound {direction}"
        return f"{wanted}: no such sound {direction}, or several"

    def _choice(self, direction: Direction) -> str:
        """The devices that there are."""
        names = [
            f"{number} {one['name']}"
            for number, one in enumerate(self._library.query_devices())
            if one[f"max_{direction}_channels"]
        ]
        return f"--{direction}-device is one of {'; '.join(names)}" if names else "there is no sound card"


_TYPES: dict[Direction, str] = {"input": "int16", "output": "float32"}
"""What is asked of the card: as integers whatever a driver makes up is still a sample."""
_VERBS: dict[Direction, str] = {"input": "record", "output": "play"}


class _told:
    """Whatever PortAudio refuses in the block is a ``DeviceError`` of one line."""

    def __init__(self, device: str, what: str, library: Any) -> None:
        self._device, self._what, self._library = device, what, library

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if isinstance(error, (ValueError, self._library.PortAudioError)):
            raise DeviceError(f"{self._device}: {self._what} ({error})") from error


def _library() -> Any:
    """The package ``sounddevice``, which loads PortAudio when it is imported."""
    try:
        import sounddevice
    except ImportError as error:
        raise DeviceError("the sound card needs the Python package sounddevice: pip install sounddevice") from error
    except OSError as error:
        raise DeviceError(f"the sound card needs PortAudio ({error}): apt install libportaudio2") from error
    return sounddevice
