"""A folder of recordings as people would bring it, made of synthesised speech."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
from av.audio.stream import AudioStream

from microturn.turn import SAMPLE_RATE_HZ, Pcm


def in_quiet(pcm: Pcm, before_ms: int, after_ms: int, noise: float) -> Pcm:
    """``pcm`` with stretches before and after it, over noise of the given RMS."""
    rng = np.random.default_rng(0)
    padded = np.concatenate([np.zeros(before_ms * 16, np.float32), pcm, np.zeros(after_ms * 16, np.float32)])
    return (padded + noise * rng.standard_normal(len(padded))).astype(np.float32)


def record(path: Path, pcm: Pcm) -> None:
    """Encode ``pcm`` with FFmpeg as the file's name says: ``.flac`` at 16 kHz, ``.opus`` at 48 kHz."""
    codec, rate_hz = {".flac": ("flac", SAMPLE_RATE_HZ), ".opus": ("libopus", 48_000)}[path.suffix]
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate_hz)
        assert isinstance(stream, AudioStream)
        stream.layout = "mono"
        samples = (np.clip(pcm, -1, 1) * 32767).astype(np.int16)[None]
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
        frame.sample_rate = SAMPLE_RATE_HZ
        frame.pts = 0
        resampler = av.AudioResampler(stream.format.name, "mono", rate_hz, frame_size=stream.frame_size or None)
        for piece in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(piece))
        container.mux(stream.encode(None))
