"""A corpus on disk: scenarios as compact records in shards, made by all cores, resumable, the same for the same seed.

A record keeps what training needs: the user's log-mel in 256 steps, the model's log-mel of the turns that speak, the
words of the lanes, pictures as JPEG. Shard *i* holds the scenarios with seeds ``i * SHARD_RECORDS ...`` and appears
under its name only when it is whole, so an interrupted run goes on with the shards that are missing.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from threadpoolctl import threadpool_limits

from microturn.errors import CorpusError
from microturn.model.mel import LOG_CEIL, LOG_FLOOR, MEL_BANDS, TURN_FRAMES, LogMel, log_mel
from microturn.scenario.scenario import Scenario, Split
from microturn.turn import TURN_MS, TURN_SAMPLES, Frame

SHARD_RECORDS = 128
FORMAT = 1


class Record(msgspec.Struct, frozen=True):
    """One scenario, ready for training. Mel values are uint8 steps between LOG_FLOOR and LOG_CEIL."""

    family: str
    num_turns: int
    user_mel: bytes
    """(num_turns, 20, 80); empty when every turn is a gap."""
    speaking: list[int]
    """Output turns that speak, in order."""
    model_mel: bytes
    """(len(speaking), 20, 80)."""
    hear: dict[int, list[str]]
    say: dict[int, list[str]]
    texts: dict[int, list[tuple[str, str]]]
    """(source, text) pairs by turn."""
    frames: dict[int, bytes]
    """JPEG by turn."""
    gaps: list[int]
    unlabelled: list[int]
    """Turns in which the user's words are not known."""
    phases: dict[int, int] = {}
    """How far the figure's repetition is, by turn; where it is known, every turn has a picture."""


@dataclass(frozen=True, kw_only=True)
class CorpusConfig:
    """What a corpus holds: families with their weights, and where real recordings lie."""

    weights: dict[str, float]
    num_records: int
    split: Split = "train"
    first_seed: int = 0
    data: str | None = None


Make = Callable[[str, int, Split, Path | None], Scenario]
"""(family, seed, split, data) -> Scenario: ``generate.generate`` for real corpora."""


def mel_to_bytes(mel: LogMel) -> bytes:
    scaled = (mel - LOG_FLOOR) * (255.0 / (LOG_CEIL - LOG_FLOOR))
    steps: NDArray[np.uint8] = np.clip(np.rint(scaled), 0, 255).astype(np.uint8)
    return steps.tobytes()


def mel_from_bytes(data: bytes) -> LogMel:
    """(turns, 20, 80) log-mel."""
    steps = np.frombuffer(data, np.uint8).reshape(-1, TURN_FRAMES, MEL_BANDS)
    return steps.astype(np.float32) * ((LOG_CEIL - LOG_FLOOR) / 255.0) + LOG_FLOOR


def encode_frame(frame: Frame) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


def decode_frame(data: bytes) -> Frame:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def to_record(scenario: Scenario) -> Record:
    """The training record of a scenario. Sound of turns that are gaps is silence, as in streaming."""
    user = scenario.user.copy()
    for turn in scenario.gaps:
        user[turn * TURN_SAMPLES : (turn + 1) * TURN_SAMPLES] = 0.0
    silent = len(scenario.gaps) == scenario.num_turns
    speaking = [turn for turn, speaks in enumerate(scenario.speaking()) if speaks]
    unlabelled = {
        turn
        for start_ms, end_ms in scenario.unlabelled_ms
        for turn in range(int(start_ms // TURN_MS), min(int(end_ms // TURN_MS) + 2, scenario.num_turns))
    }
    return Record(
        family=scenario.family,
        num_turns=scenario.num_turns,
        user_mel=b"" if silent else mel_to_bytes(log_mel(user)),
        speaking=speaking,
        model_mel=mel_to_bytes(_model_mel(scenario)),
        hear=scenario.hear_labels(),
        say=scenario.say_labels(),
        texts={turn: [(text.source.value, text.text) for text in texts] for turn, texts in scenario.texts.items()},
        frames={turn: encode_frame(frame) for turn, frame in scenario.frames.items()},
        gaps=sorted(scenario.gaps),
        unlabelled=sorted(unlabelled),
        phases=scenario.phases,
    )


def _model_mel(scenario: Scenario) -> LogMel:
    """Frames (n, 20, 80) of the n turns that speak. Most of a session is silence, which is not worth a transform."""
    pcm = np.concatenate([np.zeros(TURN_SAMPLES, np.float32), scenario.model_pcm()])
    stretches: list[LogMel] = [np.zeros((0, TURN_FRAMES, MEL_BANDS), np.float32)]
    start = 0
    for speaks, turns in groupby(scenario.speaking()):
        end = start + len(list(turns))
        if speaks:  # with the turn before it (one further on in pcm), which the first frame's window reaches into
            stretch = pcm[start * TURN_SAMPLES : (end + 1) * TURN_SAMPLES]
            stretches.append(log_mel(stretch).reshape(-1, TURN_FRAMES, MEL_BANDS)[1:])
        start = end
    return np.concatenate(stretches)


def family_of_seed(config: CorpusConfig, seed: int) -> str:
    """The family that ``seed`` belongs to: drawn by the weights, the same in every process."""
    names = sorted(config.weights)
    shares = np.array([config.weights[name] for name in names])
    return names[int(np.random.default_rng((seed, 77)).choice(len(names), p=shares / shares.sum()))]


def _make_shard(folder: Path, config: CorpusConfig, shard: int, make: Make) -> Path:
    path = folder / f"{shard:05d}.msgpack"
    if path.exists():
        return path
    first = config.first_seed + shard * SHARD_RECORDS
    last = min(first + SHARD_RECORDS, config.first_seed + config.num_records)
    data = Path(config.data) if config.data else None
    records = [to_record(make(family_of_seed(config, seed), seed, config.split, data)) for seed in range(first, last)]
    partial = path.with_suffix(".partial")
    partial.write_bytes(msgspec.msgpack.encode(records))
    partial.replace(path)
    return path


def _one_thread() -> None:
    """There are as many processes as cores: threads of their own slow them down three to six times (docs/log.md)."""
    threadpool_limits(1)


def make_corpus(folder: Path, config: CorpusConfig, make: Make, num_workers: int | None = None) -> Iterator[Path]:
    """Make the shards that are missing, on all cores; yields each shard's path as it is ready.

    Raises ``CorpusError`` when ``folder`` holds a corpus made with other settings.
    """
    folder.mkdir(parents=True, exist_ok=True)
    settings = {"format": FORMAT, **msgspec.to_builtins(config)}
    settings_file = folder / "corpus.json"
    if settings_file.exists():
        found = json.loads(settings_file.read_text())
        if {**found, "num_records": 0} != {**settings, "num_records": 0}:
            raise CorpusError(f"{folder}: holds a corpus made with other settings; choose another folder")
    settings_file.write_text(json.dumps(settings, indent=1))
    shards = range(-(-config.num_records // SHARD_RECORDS))
    with ProcessPoolExecutor(num_workers or os.cpu_count(), initializer=_one_thread) as pool:
        jobs = [pool.submit(_make_shard, folder, config, shard, make) for shard in shards]
        for job in as_completed(jobs):
            yield job.result()


def read_shards(paths: Iterable[Path]) -> Iterator[Record]:
    """Records of shard files; raises ``CorpusError`` naming a file that is damaged."""
    for path in paths:
        try:
            yield from msgspec.msgpack.decode(path.read_bytes(), type=list[Record])
        except (OSError, msgspec.MsgspecError) as error:
            raise CorpusError(f"{path}: not a corpus shard ({error})") from error


def shard_paths(folder: Path) -> list[Path]:
    """The shards that are ready; raises ``CorpusError`` when there are none."""
    paths = sorted(folder.glob("[0-9]*.msgpack"))
    if not paths:
        raise CorpusError(f"{folder}: no corpus shards here")
    return paths
