"""The laws on the machine that this runs on, and what a turn costs there: ``microturn check``.

A law either holds or does not: numbers of training and streaming agree, a session gives the same bits whatever company
it is in, memory does not grow. Times are measured and reported; a slow machine breaks no law.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import islice
from pathlib import Path
from statistics import median

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load
from torch import Tensor

from microturn.bench.cost import in_alternation, median_alike, resident_mb
from microturn.errors import InputError
from microturn.media.mel import MEL_BANDS, TURN_FRAMES, dmel_levels, log_mel
from microturn.media.reader import open_media
from microturn.media.typed import session_turns
from microturn.model.hearing import initial_hearing_state, turn_levels
from microturn.model.lanes import initial_lane_state, lanes
from microturn.model.memory import MemoryState
from microturn.model.microturn import Microturn
from microturn.model.network import last_of_turn
from microturn.model.state import MAX_WAITING_TOKENS
from microturn.model.turns import Kind, Sound, Turns
from microturn.session.session import Session
from microturn.train.batch import Patch, Row, collate
from microturn.turn import TURN_MS, TURN_SAMPLES, Frame, TextIn, TextSource, TurnInput, TurnOutput

SAMPLES = Path(__file__).parent.parent / "samples"
SAMPLE_TAIL_TURNS = 20
WITHIN = 1e-5
"""How far a number of training may be from that of streaming."""
ROWS = 8
TURNS = 12
"""Turns of the sessions that are compared bit by bit."""
PAST_EDGE_TURNS = 30
"""So many turns beyond the memory's window are compared between training and streaming."""
COST_TURNS = 60
CAPACITY_TURNS = 8
CAPACITY_SECONDS = 8.0
"""No further batch is tried after so long."""
MAX_SESSIONS = 256
HEAD_ROOM = 0.8
"""Share of a turn's 200 ms that a batch may take."""
PAIRED_TURNS = 60
GROWTH_MB = 16.0
"""Memory that the process may gain over a session: allocators keep some."""


@dataclass(frozen=True)
class Finding:
    """One line of the table. ``holds`` is ``None`` for what is measured and no law."""

    name: str
    figure: str
    values: Mapping[str, float | int | str | None]
    holds: bool | None = None


def num_findings() -> int:
    """How many findings ``check`` yields (for a progress bar)."""
    return 6 + 3 + 1 + 1 + len(sample_paths())


def check(model: Microturn, minutes: float) -> Iterator[Finding]:
    """All findings, one after the other. The memory is watched over ``minutes`` beyond its window. Raises
    ``InputError`` unless that is between a tenth of a minute and a day."""
    if not 0.1 <= minutes <= 24 * 60:
        raise InputError(f"--minutes {minutes}: expected 0.1 to {24 * 60} minutes")
    model.prepare()
    yield training_against_streaming(model)
    company = Company(model)
    yield company.in_a_batch("batch against single", 0)
    yield company.in_a_batch("any slot", 3)
    yield company.exported()
    yield company.replayed()
    yield company.isolated()
    yield _cost("a turn with sound", model, 1, pictures=False)
    yield _cost("a turn with 5 frames a second", model, 1, pictures=True)
    yield _cost(f"a turn of {ROWS} sessions", model, ROWS, pictures=False)
    yield capacity(model)
    yield memory(model, minutes)
    for path in sample_paths():
        yield behaviour(model, path)


def sample_paths() -> list[Path]:
    """The bundled sample sessions."""
    return sorted(path for path in SAMPLES.iterdir() if path.suffix in (".wav", ".mp4"))


@lru_cache(maxsize=1)
def _sample_turns() -> tuple[TurnInput, ...]:
    return tuple(given for path in sample_paths() for given in open_media(path).iter_turns())


def turns(seed: int) -> Iterator[TurnInput]:
    """Turns without end: the samples, begun elsewhere for every seed, now and then with a gap, a picture or text."""
    rng = np.random.default_rng(seed)
    samples = _sample_turns()
    place = 53 * seed
    while True:
        given = samples[place % len(samples)]
        draw = rng.random(3)
        if draw[0] < 0.1:
            given = replace(given, audio=None)
        if draw[1] < 0.1:
            given = replace(given, frame=_picture(rng))
        if draw[2] < 0.1:
            given = replace(given, texts=(TextIn(TextSource.TYPED, "please say red and blue"),))
        yield given
        place += 1


def _picture(rng: np.random.Generator) -> Frame:
    return rng.integers(0, 256, (80, 80, 3), np.uint8)


def training_against_streaming(model: Microturn) -> Finding:
    """A session turn by turn, then all of it in one piece as training computes it, over the edge of its window."""
    num_turns = model.config.memory.window_turns + PAST_EDGE_TURNS
    inputs = list(islice(turns(1), num_turns))
    state = model.initial_state(1)
    with _reading(model) as read:
        for given in inputs:
            _, state = model.step([given], state)
    streamed = torch.cat([hidden[0][one.valid_BT[0]] for one, hidden in read])
    row = _as_row([one for one, _ in read], inputs)
    joined = collate("check", [row], len(row.tokens), num_turns).turns
    network, config = model.network, model.config
    with torch.no_grad():
        silent = initial_hearing_state(config.hearing, 1)
        heard, _, _ = network.hearing(turn_levels(joined.levels_BUFM), joined.sound_BU != Sound.GAP, silent)
        known, _ = lanes(joined, initial_lane_state(1, config.backbone.lane_words))
        whole = network.backbone.whole(network.embedder(joined, known, last_of_turn(heard)), joined)[0]
    difference = float((whole - streamed).abs().max())
    figure = f"{num_turns} turns, {len(streamed)} tokens: {difference:.1e} apart at most"
    return Finding("training against streaming", figure, {"difference": difference}, difference <= WITHIN)


@contextmanager
def _reading(model: Microturn) -> Iterator[list[tuple[Turns, Tensor]]]:
    """Gathers what the backbone reads while the block runs, pass by pass, and its states after it."""
    backbone = model.network.backbone
    read: list[tuple[Turns, Tensor]] = []
    turn = backbone.turn

    def reading(x: Tensor, turns: Turns, memory: MemoryState) -> tuple[Tensor, MemoryState]:
        hidden, after = turn(x, turns, memory)
        read.append((turns, hidden))
        return hidden, after

    vars(backbone)["turn"] = reading  # on this one object, in front of its class's method
    try:
        yield read
    finally:
        del vars(backbone)["turn"]


def _as_row(passes: Sequence[Turns], inputs: Sequence[TurnInput]) -> Row:
    """A session's passes (of one row) as a row of training; the sound is cut into frames in one piece."""
    silence = np.zeros(TURN_SAMPLES, np.float32)
    sound = np.concatenate([silence if given.audio is None else given.audio for given in inputs])
    levels = dmel_levels(log_mel(sound)).reshape(len(inputs), TURN_FRAMES, MEL_BANDS)
    levels[[given.audio is None for given in inputs]] = 0
    first = [one for one in passes if bool((one.kind_BT == Kind.NOW)[one.valid_BT].any())]
    row = Row(sound=np.array([int(one.sound_BU) for one in first]), levels=levels)
    tokens: list[NDArray[np.int64]] = []
    for one in passes:
        at = (one.patch_at_N + sum(map(len, tokens))).tolist()
        shown = zip(at, one.patch_NPPC.numpy(), one.likeness_NL.numpy(), strict=True)
        row.patches += [Patch(*patch) for patch in shown]
        columns = (one.kind_BT, one.source_BT, one.payload_BT, one.turn_BT, one.slot_BT)
        tokens.append(torch.stack(columns, -1)[one.valid_BT].numpy())
    row.tokens = np.concatenate(tokens)
    return row


Pairs = list[tuple[object, TurnOutput]]
"""Outputs, each with that of a session alone."""


class Company:
    """Sessions alone, and the same sessions in all sorts of company."""

    def __init__(self, model: Microturn) -> None:
        self.model = model
        self.inputs = [list(islice(turns(seed), TURNS)) for seed in range(ROWS)]
        played = [self._play(seed) for seed in range(ROWS)]
        self.alone = [outputs for outputs, _ in played]
        self.memories = [memory for _, memory in played]

    def _play(self, seed: int) -> tuple[list[TurnOutput], bytes]:
        session = Session.open(self.model, seed=seed)
        return [session.step(given) for given in self.inputs[seed]], session.export()

    def _finding(self, name: str, what: str, pairs: Pairs, memories: Mapping[int, bytes]) -> Finding:
        """``memories``: what sessions, by seed, remember in the end."""
        differ = sum(not _same(one, expected) for one, expected in pairs)
        forgot = sum(not _same_memory(memory, self.memories[seed]) for seed, memory in memories.items())
        figure = f"{what}: {differ} of {len(pairs)} turns and {forgot} of {len(memories)} memories differ"
        values = {"turns": len(pairs), "turns_differ": differ, "memories": len(memories), "memories_differ": forgot}
        return Finding(name, figure, values, differ + forgot == 0)

    def in_a_batch(self, name: str, shift: int) -> Finding:
        """All sessions in one batch, each ``shift`` slots further."""
        seeds = [(slot - shift) % ROWS for slot in range(ROWS)]
        state = self.model.initial_state(ROWS, seeds)
        pairs: Pairs = []
        for turn in range(TURNS):
            outputs, state = self.model.step([self.inputs[seed][turn] for seed in seeds], state)
            pairs += [(output, self.alone[seed][turn]) for output, seed in zip(outputs, seeds, strict=True)]
        what = f"{ROWS} sessions {f'{shift} slots further' if shift else 'in one batch'}"
        return self._finding(name, what, pairs, {seed: state.export(slot) for slot, seed in enumerate(seeds)})

    def exported(self) -> Finding:
        """The first sessions leave their batch half way, as bytes, and go on alone."""
        state = self.model.initial_state(ROWS, range(ROWS))
        half = TURNS // 2
        for turn in range(half):
            _, state = self.model.step([inputs[turn] for inputs in self.inputs], state)
        pairs: Pairs = []
        memories = {}
        for seed in range(3):
            session = Session.imported(self.model, state.export(seed))
            pairs += [(session.step(self.inputs[seed][turn]), self.alone[seed][turn]) for turn in range(half, TURNS)]
            memories[seed] = session.export()
        return self._finding("export and import", f"sessions of {len(memories[0]) / 2**20:.1f} MiB", pairs, memories)

    def replayed(self) -> Finding:
        """The first session once more."""
        outputs, memory = self._play(0)
        pairs: Pairs = [*zip(outputs, self.alone[0], strict=True)]
        return self._finding("replay", "the same inputs again", pairs, {0: memory})

    def isolated(self) -> Finding:
        """The first session while the others skip, join, type much and send what is not acceptable."""
        slot = ROWS // 2
        state = self.model.initial_state(ROWS)
        pairs: Pairs = []
        refused = 0
        for turn, given in enumerate(self.inputs[0]):
            others = [_DISTURBANCES[(turn + row) % len(_DISTURBANCES)] for row in range(ROWS)]
            inputs = [given if row == slot else other for row, other in enumerate(others)]
            outputs, state = self.model.step(inputs, state)
            pairs.append((outputs[slot], self.alone[0][turn]))
            refused += sum(isinstance(output, InputError) for output in outputs)
            state = self.model.reset(state, [turn % slot], seed=turn)
        what = f"beside {refused} refused inputs, long texts and new sessions"
        return self._finding("row isolation", what, pairs, {0: state.export(slot)})


_DISTURBANCES: tuple[TurnInput | None, ...] = (
    TurnInput(audio=np.full(TURN_SAMPLES, np.nan, np.float32)),
    None,
    TurnInput(audio=None, texts=(TextIn(TextSource.TYPED, "red and blue " * 60),)),
    TurnInput(audio=np.zeros(7, np.float32)),
    TurnInput(audio=np.ones(TURN_SAMPLES, np.float32), frame=np.full((30, 50, 3), 255, np.uint8)),
    TurnInput(audio=None, frame=np.zeros((0, 8, 3), np.uint8)),
    TurnInput(audio=None, texts=(TextIn(TextSource.JOB, "word " * 2 * MAX_WAITING_TOKENS),)),
)
"""What the neighbours of an isolated row do, one after the other; the third and fifth are acceptable."""


def _same(one: object, expected: TurnOutput) -> bool:
    if not isinstance(one, TurnOutput):
        return False
    words = [(output.turn, output.hear, output.say, output.act, output.speaking) for output in (one, expected)]
    return words[0] == words[1] and np.array_equal(one.audio, expected.audio)


def _same_memory(one: bytes, other: bytes) -> bool:
    """Whether exported sessions agree in every bit."""
    first, second = load(one), load(other)
    return all(torch.equal(first[name], second[name]) for name in first)


def _times_ms(model: Microturn, rows: int, num_turns: int, pictures: bool) -> tuple[list[float], list[int]]:
    """What each turn of a batch takes, after two that are not counted; and how many rows spoke in it."""
    sources = [turns(seed) for seed in range(rows)]
    rng = np.random.default_rng(0)
    state = model.initial_state(rows, range(rows))
    times_ms: list[float] = []
    spoken: list[int] = []
    for _ in range(num_turns + 2):
        inputs = [replace(next(source), frame=_picture(rng) if pictures else None) for source in sources]
        start_s = time.perf_counter()
        outputs, state = model.step(inputs, state)
        times_ms.append((time.perf_counter() - start_s) * 1000)
        spoken.append(sum(isinstance(one, TurnOutput) and one.speaking for one in outputs))
    return times_ms[2:], spoken[2:]


def _cost(name: str, model: Microturn, rows: int, *, pictures: bool) -> Finding:
    """Percentiles over all turns, and medians of those in which nobody speaks and of the others."""
    taken_ms, spoken = _times_ms(model, rows, COST_TURNS, pictures)
    p50_ms, p99_ms = (float(np.percentile(taken_ms, share)) for share in (50, 99))
    silent_ms, sounding_ms = (
        [one_ms for one_ms, count in zip(taken_ms, spoken, strict=True) if bool(count) == speaks]
        for speaks in (False, True)
    )
    values: dict[str, float | None] = {
        "p50_ms": p50_ms,
        "p99_ms": p99_ms,
        "listening_ms": median(silent_ms) if silent_ms else None,
        "speaking_ms": median(sounding_ms) if sounding_ms else None,
        "speaking": sum(spoken) / (rows * COST_TURNS),
    }
    kinds = {"listening": values["listening_ms"], "speaking": values["speaking_ms"]}
    medians = ", ".join(f"{kind} {one_ms:.1f}" for kind, one_ms in kinds.items() if one_ms is not None)
    figure = f"p50 {p50_ms:.1f} ms ({medians}), p99 {p99_ms:.1f} ms of {TURN_MS}"
    return Finding(name, figure, values)


def capacity(model: Microturn) -> Finding:
    """The largest batch whose slowest turn leaves some room in 200 ms: doubled until it does not, then halved in
    between. What is too slow is tried once more, for something else may have run."""
    limit_ms = HEAD_ROOM * TURN_MS
    begun_s = time.perf_counter()
    slowest: dict[int, float] = {}

    def fits(rows: int) -> bool:
        for _ in range(2):
            slowest[rows] = max(_times_ms(model, rows, CAPACITY_TURNS, pictures=False)[0])
            if slowest[rows] <= limit_ms:
                return True
        return False

    good, bad, rows = 0, MAX_SESSIONS + 1, 1
    while bad - good > 1 and time.perf_counter() - begun_s < CAPACITY_SECONDS:
        good, bad = (rows, bad) if fits(rows) else (good, rows)
        rows = min(2 * good, MAX_SESSIONS) if bad > MAX_SESSIONS else (good + bad) // 2
    figure = f"none: the slowest turn of a single one takes {slowest[1]:.0f} ms of {TURN_MS}"
    if good:
        at_least = "" if bad - good == 1 and good < MAX_SESSIONS else "at least "
        figure = f"{at_least}{good} in one batch: the slowest turn takes {slowest[good]:.0f} ms of {TURN_MS}"
    return Finding("sessions carried", figure, {"sessions": good, "slowest_ms": slowest[max(1, good)]})


def memory(model: Microturn, minutes: float) -> Finding:
    """One session over ``minutes`` beyond its window, faster than real time; then its turns against a new one's."""
    num_turns = model.config.memory.window_turns + round(minutes * 60_000 / TURN_MS)
    source, session = turns(2), Session.open(model)
    num_bytes, first_mb = session.num_bytes, 0.0
    for turn, given in enumerate(islice(source, num_turns)):
        session.step(given)
        if turn == num_turns // 3:
            first_mb = resident_mb()
    grown_mb = resident_mb() - first_mb
    *times_ms, alike = in_alternation(Session.open(model), session, islice(source, PAIRED_TURNS))
    new_ms, old_ms = (median_alike(side, alike) for side in times_ms)
    flat = session.num_bytes == num_bytes and grown_mb < GROWTH_MB
    figure = (
        f"{num_turns * TURN_MS / 60_000:.1f} minutes: a session's {num_bytes / 2**20:.1f} MiB stay, the process gains"
        f" {max(0.0, grown_mb):.1f} MB; a turn at the end costs {old_ms / new_ms:.2f} x one at the beginning"
    )
    values = {"turns": num_turns, "session_bytes": session.num_bytes, "grown_mb": grown_mb, "ratio": old_ms / new_ms}
    return Finding("memory over time", figure, values, flat)


def behaviour(model: Microturn, path: Path) -> Finding:
    """What is heard and said in a sample session. Saying nothing breaks no law."""
    session = Session.open(model)
    outputs = [session.step(given) for given in session_turns(open_media(path), [], SAMPLE_TAIL_TURNS)]
    heard, said = ("".join(getattr(output, lane) for output in outputs).strip() for lane in ("hear", "say"))
    begins = next((output.t_ms + TURN_MS for output in outputs if output.say), None)
    figure = "says nothing" if begins is None else f'says "{said}", first heard at {begins / 1000:.1f} s'
    return Finding(f"sample {path.name}", figure, {"said": said, "heard": heard, "first_heard_ms": begins})
