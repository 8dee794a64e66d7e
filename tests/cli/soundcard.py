"""A sound card that is not there: what the package ``sounddevice`` would be with one microphone and one loudspeaker.

Only that package is replaced. Its two streams call back in threads of their own, in real time, as PortAudio does.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np

from microturn.turn import SAMPLE_RATE_HZ, Pcm

BLOCK_SAMPLES = SAMPLE_RATE_HZ * 20 // 1000


class PortAudioError(Exception):
    pass


@dataclass
class FakeCard:
    """``sound`` is what the microphone hears, ``pauses`` (seconds from, to) when it brings nothing."""

    sound: Pcm
    pauses: tuple[float, float] = (0.0, 0.0)
    gone_after_s: float | None = None
    """When the microphone is pulled out."""
    rates_hz: tuple[int, ...] = (SAMPLE_RATE_HZ,)
    names: tuple[str, ...] = ("USB headset", "Loudspeaker")
    played: list[Pcm] = field(default_factory=list)
    callback_ms: list[float] = field(default_factory=list)
    """What every call took."""
    at_end: Callable[[], None] = lambda: None
    """Called once the whole sound was heard."""
    PortAudioError = PortAudioError

    def query_devices(self, device: int | str | None = None, kind: str | None = None) -> Any:
        devices = [{"name": name, "max_input_channels": 1, "max_output_channels": 2} for name in self.names]
        if kind is None:
            return devices
        if device is None and devices:
            return devices[0]
        if isinstance(device, int) and 0 <= device < len(devices):
            return devices[device]
        if isinstance(device, str):
            found = [one for one in devices if device.lower() in str(one["name"]).lower()]
            if len(found) == 1:
                return found[0]
            raise ValueError(f"No {kind} device matching {device!r}")
        raise PortAudioError(f"Error querying device {device}")

    def check_input_settings(self, *, samplerate: int, **settings: Any) -> None:
        if samplerate not in self.rates_hz:
            raise PortAudioError("Invalid sample rate [PaErrorCode -9997]")

    check_output_settings = check_input_settings

    def InputStream(self, **settings: Any) -> Stream:  # noqa: N802
        assert settings["dtype"] == "int16"
        return Stream(self, self._record, settings)

    def OutputStream(self, **settings: Any) -> Stream:  # noqa: N802
        assert settings["dtype"] == "float32"
        return Stream(self, self._play, settings)

    def _record(self, block: int, callback: Callable[..., None]) -> bool:
        at_s = block * BLOCK_SAMPLES / SAMPLE_RATE_HZ
        if self.gone_after_s is not None and at_s >= self.gone_after_s:
            return False
        heard = np.zeros((BLOCK_SAMPLES, 1), np.int16)
        part = self.sound[block * BLOCK_SAMPLES : (block + 1) * BLOCK_SAMPLES]
        heard[: len(part), 0] = np.round(part * 32767)
        if not self.pauses[0] <= at_s < self.pauses[1]:
            callback(heard, BLOCK_SAMPLES, None, SimpleNamespace(input_overflow=False))
        heard[:] = 12345  # The card's memory is its own again.
        if block * BLOCK_SAMPLES <= len(self.sound) < (block + 1) * BLOCK_SAMPLES:
            self.at_end()
        return True

    def _play(self, block: int, callback: Callable[..., None]) -> bool:
        out = np.full((BLOCK_SAMPLES, 1), np.nan, np.float32)
        callback(out, BLOCK_SAMPLES, None, SimpleNamespace(output_underflow=False))
        self.played.append(out[:, 0].copy())
        return True


class Stream:
    """Calls back every 20 ms until it is closed or ends by itself."""

    def __init__(self, card: FakeCard, step: Callable[[int, Callable[..., None]], bool], settings: dict[str, Any]):
        assert (settings["samplerate"], settings["channels"]) == (SAMPLE_RATE_HZ, 1)
        self._card, self._step, self._settings = card, step, settings
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._closing.set()
        self._thread.join(5)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        start_s = time.monotonic()
        block = 0
        going = True
        while going and not self._closing.is_set():
            time.sleep(max(0.0, start_s + (block + 1) * BLOCK_SAMPLES / SAMPLE_RATE_HZ - time.monotonic()))
            begun_s = time.thread_time()
            going = self._step(block, self._settings["callback"])
            self._card.callback_ms.append((time.thread_time() - begun_s) * 1000)
            block += 1
        self._settings["finished_callback"]()
