"""The tick: every 200 ms one turn of every session, in a thread of its own.

Receive, batch, run, deliver. Nobody is waited for: what has not arrived when the clock strikes is a gap.

A tick that takes longer than it may delays the next one. That one is taken at once, because its sound is there already
and the clock of a session is the time that has passed; so one slow tick is made good by the next quick ones. What lies
more than ``MAX_OWED_TURNS`` behind is left out for all sessions and counted: after a stall of seconds a burst of turns
would answer to a past that nobody remembers, and on a machine that is too slow it would never end.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from threading import Event, Lock, Thread

import numpy as np

from microturn.engine.admission import RETRY_MS, Admission
from microturn.engine.inbox import Inbox
from microturn.engine.slots import End, Outbox, Recording, Slot, Slots, Tick, Turn
from microturn.errors import BusyError, InputError
from microturn.model.microturn import Microturn
from microturn.model.state import MAX_WAITING_TOKENS, State
from microturn.turn import TURN_MS, TURN_SAMPLES, TurnInput, TurnOutput

TURN_S = TURN_MS / 1000
MAX_OWED_TURNS = 2
CURVE_TURNS = 4
"""Turns that are measured for a point of the cost curve; the first one of all is slower and not counted."""

log = logging.getLogger(__name__)


class Engine:
    """Sessions that tick together. ``open`` and ``close`` may be called from any thread."""

    def __init__(
        self,
        model: Microturn,
        max_sessions: int,
        *,
        admission: Admission | None = None,
        observe: Callable[[Tick], None] = lambda tick: None,
        now_s: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """``observe`` is called in the engine's thread after every tick. Without ``admission`` the cost of turns is
        measured now."""
        self._model = model
        self._now_s, self._sleep = now_s, sleep
        self._admission = Admission(measured_curve(model, max_sessions)) if admission is None else admission
        self._observe = observe
        self._lock = Lock()
        self._slots = Slots(max_sessions)
        self._state: State = model.initial_state(max_sessions)
        self._stopping = Event()
        self._thread = Thread(target=self._run, name="engine", daemon=True)
        self._ticked_s = self._now_s()

    @property
    def num_sessions(self) -> int:
        return len(self._slots)

    @property
    def max_sessions(self) -> int:
        return self._slots.num_rows

    @property
    def alive(self) -> bool:
        """Whether turns are being taken."""
        return self._thread.is_alive() and self._now_s() - self._ticked_s < 10 * TURN_S

    def start(self) -> None:
        """Begin to tick."""
        self._thread.start()

    def stop(self) -> None:
        """End after the tick in progress. Sessions that are there end too."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()
        for slot in self._slots.taken:
            self.close(slot)

    def retry_after_ms(self, leaving: int = 0) -> int:
        """0 if one more session can be admitted once ``leaving`` of them are over, else when to ask again."""
        staying = self.num_sessions - leaving
        return RETRY_MS if staying == self.max_sessions else self._admission.retry_after_ms(staying + 1)

    def open(
        self,
        inbox: Inbox,
        wake: Callable[[], None],
        *,
        seed: int = 0,
        recording: Recording | None = None,
        state: State | None = None,
    ) -> Slot:
        """A slot for a session, new or going on from ``state``, whose first turn is the next tick. ``wake`` is called,
        in the engine's thread, when its outbox can be read. Raises ``BusyError``."""
        with self._lock:
            retry_after_ms = self.retry_after_ms()
            slot = None if retry_after_ms else self._slots.take(seed, inbox, Outbox(wake), recording)
            if slot is not None:
                slot.state = state
                if recording is not None:
                    recording.begin()
        if slot is None:
            raise BusyError(
                f"{self.num_sessions} sessions are as many as keep the deadline of {TURN_MS} ms here: "
                f"try again in {retry_after_ms / 1000:.0f} s",
                retry_after_ms,
            )
        return slot

    def close(self, slot: Slot, end: End = End.CLOSED) -> None:
        """Give the slot back; what its session had said and not yet got is lost."""
        with self._lock:
            released = self._slots.release(slot)
        if released:
            slot.outbox.finish(end)
            if slot.recording is not None:
                slot.recording.end(end)

    def tick(self, due_s: float, skipped_turns: int = 0) -> Tick:
        """The turn that is due at ``due_s`` for every session."""
        start_s = self._now_s()
        with self._lock:
            slots = self._slots.taken
            if not slots:
                self._slots.check()
        inputs: list[TurnInput | None] = [None] * self.max_sessions
        for slot in slots:
            if slot.fresh:
                begins = self._model.initial_state(1, [slot.seed]) if slot.state is None else slot.state
                self._state.overwrite(slot.row, begins)
                slot.fresh, slot.state = False, None
            slot.skipped_turns += skipped_turns
            inputs[slot.row] = slot.inbox.take(MAX_WAITING_TOKENS - int(self._state.num_waiting_R[slot.row]))
        outputs = self._step(inputs)
        done_s = self._now_s()
        tick = Tick(
            num_sessions=len(slots),
            num_gaps=sum(given is not None and given.audio is None for given in inputs),
            compute_ms=(done_s - start_s) * 1000,
            margin_ms=(due_s + TURN_S - done_s) * 1000,
            skipped_turns=skipped_turns,
        )
        for slot in slots:
            self._deliver(slot, inputs[slot.row], outputs[slot.row], tick)
        self._admission.measured(len(slots), tick.compute_ms)
        self._ticked_s = done_s
        self._observe(tick)
        return tick

    def _run(self) -> None:
        due_s = self._now_s() + TURN_S
        skipped_turns = 0
        while not self._stopping.is_set():
            self._sleep(max(0.0, due_s - self._now_s()))
            self.tick(due_s, skipped_turns)
            due_s, skipped_turns = next_due(due_s, self._now_s())

    def _step(self, inputs: Sequence[TurnInput | None]) -> list[TurnOutput | InputError | None]:
        """One turn of the rows that have an input. A step that fails is taken again row by row: whoever made it fail
        pays for it alone."""
        try:
            outputs, self._state = self._model.step(inputs, self._state)
        except Exception:
            log.exception("a turn failed; its sessions are tried one by one")
        else:
            return outputs
        outputs = [None] * len(inputs)
        for row, given in enumerate(inputs):
            alone = [given if other == row else None for other in range(len(inputs))]
            try:
                one, self._state = self._model.step(alone, self._state)
                outputs[row] = one[row]
            except Exception as error:
                outputs[row] = InputError(f"the turn failed ({type(error).__name__})")
        return outputs

    def _deliver(self, slot: Slot, given: TurnInput | None, made: TurnOutput | InputError | None, tick: Tick) -> None:
        if given is None or not isinstance(made, TurnOutput):
            log.error("a session ends: %s", made)
            self.close(slot, End.FAILED)
            return
        turn = Turn(given, made, tick, slot.inbox.waiting_ms, slot.inbox.trimmed_ms, slot.skipped_turns)
        if slot.recording is not None:
            slot.recording.add(turn, lambda: self._state.row(slot.row))
        if not slot.outbox.put(turn):
            self.close(slot, End.SLOW_READER)


def next_due(due_s: float, now_s: float) -> tuple[float, int]:
    """When the tick after the one of ``due_s`` is due, and how many turns of the clock are left out before it."""
    due_s += TURN_S
    owed = int((now_s - due_s) / TURN_S)
    skipped = max(0, owed - MAX_OWED_TURNS)
    return due_s + skipped * TURN_S, skipped


def measured_curve(model: Microturn, max_sessions: int) -> dict[int, float]:
    """What a turn takes: for one session, half as many as there may be, and all."""
    rng = np.random.default_rng(0)
    silence = TurnInput(audio=rng.normal(0.0, 0.01, TURN_SAMPLES).astype(np.float32))
    curve_ms: dict[int, float] = {}
    model.step([silence], model.initial_state(1))
    for num_rows in sorted({1, max(1, max_sessions // 2), max_sessions}):
        state = model.initial_state(max_sessions)
        inputs = [silence if row < num_rows else None for row in range(max_sessions)]
        times_ms = []
        for _ in range(CURVE_TURNS):
            start_s = time.perf_counter()
            state = model.step(inputs, state)[1]
            times_ms.append((time.perf_counter() - start_s) * 1000)
        curve_ms[num_rows] = min(times_ms)
    return curve_ms
