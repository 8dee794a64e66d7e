"""The engine: sessions that join, leave, gap and overrun in any order never mix, and one's fault is not another's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from microturn.engine.admission import Admission
from microturn.engine.engine import MAX_OWED_TURNS, TURN_S, Engine, next_due
from microturn.engine.inbox import Inbox
from microturn.engine.slots import MAX_UNREAD_TURNS, End, Slot, Tick, Turn
from microturn.errors import BusyError, InputError
from microturn.model.microturn import Microturn
from microturn.model.state import State
from microturn.session.session import Session
from microturn.turn import TURN_SAMPLES, TextIn, TextSource, TurnInput, TurnOutput
from tests.parity.small import small_model

CHEAP = Admission({1: 1.0, 8: 8.0})


@dataclass
class FakeClock:
    """Time that passes only when somebody sleeps, or says so."""

    time_s: float = 1000.0

    def now_s(self) -> float:
        return self.time_s

    def sleep(self, seconds: float) -> None:
        self.time_s += seconds


class Faulty(Microturn):
    """The small model, which takes ``cost_s`` for a turn and fails at the word "poison"."""

    def __init__(self, model: Microturn, clock: FakeClock) -> None:
        super().__init__(model.weights.network, model.weights.vocoder, model.tokenizer)
        self.clock, self.cost_s = clock, 0.0

    def step(
        self, inputs: Sequence[TurnInput | None], state: State
    ) -> tuple[list[TurnOutput | InputError | None], State]:
        self.clock.time_s += self.cost_s
        if any(text.text == "poison" for one in inputs if one is not None for text in one.texts):
            raise RuntimeError("poison")
        return super().step(inputs, state)


@dataclass
class House:
    """An engine that is driven by hand, on a clock that stands still."""

    max_sessions: int = 4
    clock: FakeClock = field(default_factory=FakeClock)
    ticks: list[Tick] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.model = Faulty(small_model(), self.clock)
        self.engine = Engine(
            self.model, self.max_sessions, admission=CHEAP, observe=self.ticks.append, now_s=self.clock.now_s
        )
        self.due_s, self.skipped = self.clock.time_s + TURN_S, 0

    def open(self, seed: int = 0, wake: Callable[[], None] = lambda: None) -> Slot:
        return self.engine.open(Inbox(), wake, seed=seed)

    def tick(self) -> Tick:
        self.clock.sleep(max(0.0, self.due_s - self.clock.now_s()))
        tick = self.engine.tick(self.due_s, self.skipped)
        self.due_s, self.skipped = next_due(self.due_s, self.clock.time_s)
        return tick


def turns_of(slot: Slot) -> list[Turn]:
    return slot.outbox.read()[0]


def same_as_alone(turns: list[Turn], seed: int) -> None:
    """What a session got is what it would have got alone, bit for bit."""
    session = Session.open(small_model(), seed=seed)
    for index, turn in enumerate(turns):
        alone = session.step(turn.given)
        assert turn.made.turn == index
        assert (alone.hear, alone.say, alone.act, alone.speaking) == (
            turn.made.hear,
            turn.made.say,
            turn.made.act,
            turn.made.speaking,
        )
        assert np.array_equal(alone.audio, turn.made.audio)


ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["open", "close", "sound", "late", "text", "picture", "tick", "slow"]), st.integers(0, 3)
    ),
    max_size=60,
)


@settings(max_examples=12)
@given(ACTIONS)
def test_sessions_never_mix(actions: list[tuple[str, int]]) -> None:
    house = House()
    rng = np.random.default_rng(0)
    open_slots: dict[int, Slot] = {}
    seeds: dict[Slot, int] = {}
    got: dict[Slot, list[Turn]] = {}

    def tick() -> None:
        house.tick()
        for slot in got:
            got[slot] += turns_of(slot)

    for seed, (action, which) in enumerate(actions):
        slot = open_slots.get(which)
        if action == "tick":
            tick()
        elif action == "slow":
            house.model.cost_s = 0.45 * which
        elif action == "open" and slot is None:
            open_slots[which] = house.open(seed)
            seeds[open_slots[which]], got[open_slots[which]] = seed, []
        elif slot is None:
            continue
        elif action == "close":
            house.engine.close(open_slots.pop(which))
        elif action == "text":
            slot.inbox.push_text(TextIn(TextSource.TYPED, "say red and blue"))
        elif action == "picture":
            slot.inbox.push_picture(rng.integers(0, 256, (60, 90, 3)).astype(np.uint8), seed)
        else:
            length = TURN_SAMPLES if action == "sound" else int(rng.integers(0, 2 * TURN_SAMPLES))
            slot.inbox.push_sound(rng.normal(0, 0.1, length).astype(np.float32))
    tick()
    assert house.engine.num_sessions == len(open_slots)
    for slot, turns in got.items():
        same_as_alone(turns, seeds[slot])
    for slot in open_slots.values():
        assert got[slot], "a session that is open has a turn every tick"
        house.engine.close(slot)
    assert house.tick().num_sessions == 0


def test_a_session_that_makes_the_step_fail_is_the_only_one_that_ends() -> None:
    house = House()
    good, bad = house.open(1), house.open(2)
    house.tick()
    bad.inbox.push_text(TextIn(TextSource.TYPED, "poison"))
    house.tick()
    house.tick()
    assert bad.outbox.read()[1] is End.FAILED
    turns = turns_of(good)
    assert len(turns) == 3 and house.engine.num_sessions == 1
    same_as_alone(turns, 1)


def test_sound_that_is_not_a_number_ends_its_own_session() -> None:
    house = House()
    good, bad = house.open(1), house.open(2)
    bad.inbox.push_sound(np.full(TURN_SAMPLES, np.nan, np.float32))
    house.tick()
    assert bad.outbox.read()[1] is End.FAILED and len(turns_of(good)) == 1


def test_ten_thousand_words_are_taken_in_a_few_a_turn_and_cost_nobody_anything() -> None:
    house = House()
    typist, other = house.open(), house.open(1)
    assert typist.inbox.push_text(TextIn(TextSource.TYPED, "blue " * 10_000))
    for _ in range(30):
        house.tick()
    same_as_alone(turns_of(other), 1)
    assert typist.outbox.read()[1] is None


def test_who_does_not_read_is_put_out() -> None:
    house = House()
    reader, sleeper = house.open(), house.open()
    for _ in range(MAX_UNREAD_TURNS + 1):
        house.tick()
        turns_of(reader)
    turns, end = sleeper.outbox.read()
    assert (len(turns), end) == (MAX_UNREAD_TURNS, End.SLOW_READER)
    assert house.engine.num_sessions == 1


def test_no_more_sessions_than_rows() -> None:
    house = House(max_sessions=2)
    first = house.open()
    house.open()
    with pytest.raises(BusyError, match="try again in") as refused:
        house.open()
    assert refused.value.retry_after_ms > 0
    house.engine.close(first)
    house.engine.close(first)
    assert house.open().row == first.row


def test_no_more_sessions_than_keep_the_deadline() -> None:
    engine = Engine(small_model(), 8, admission=Admission({1: 70.0, 8: 560.0}))
    engine.open(Inbox(), lambda: None)
    engine.open(Inbox(), lambda: None)
    with pytest.raises(BusyError):
        engine.open(Inbox(), lambda: None)


def test_a_slow_turn_is_counted_and_made_good() -> None:
    house = House()
    slot = house.open()
    house.tick()
    house.model.cost_s = 0.3
    slow = house.tick()
    assert slow.margin_ms == pytest.approx(-100) and slow.compute_ms == pytest.approx(300)
    house.model.cost_s = 0.02
    caught_up = house.tick()
    assert caught_up.margin_ms == pytest.approx(200 - 100 - 20)
    assert house.tick().margin_ms == pytest.approx(180)
    assert [turn.made.turn for turn in turns_of(slot)] == [0, 1, 2, 3]
    assert house.ticks[-1].skipped_turns == 0


def test_after_a_stall_the_turns_that_are_owed_are_few_and_the_rest_is_counted() -> None:
    house = House()
    slot = house.open()
    house.tick()
    house.model.cost_s = 3.1
    house.tick()
    house.model.cost_s = 0.0
    stalled_until_s = house.clock.time_s
    after, at_once = [], 0
    for _ in range(6):
        after.append(house.tick())
        at_once += house.clock.time_s == stalled_until_s
    assert [tick.skipped_turns for tick in after] == [12, 0, 0, 0, 0, 0]
    assert sum(tick.margin_ms < 0 for tick in after) == MAX_OWED_TURNS
    assert at_once == MAX_OWED_TURNS + 1
    turns = turns_of(slot)
    assert [turn.made.turn for turn in turns] == list(range(8)) and turns[-1].skipped_turns == 12


@given(st.floats(0, 100))
def test_the_next_tick_is_never_more_than_what_is_owed_away(late_s: float) -> None:
    due_s, skipped = next_due(10.0, 10.0 + late_s)
    assert due_s == pytest.approx(10.0 + (1 + skipped) * TURN_S)
    assert 10.0 + late_s - due_s < (MAX_OWED_TURNS + 1) * TURN_S + 1e-6
    assert not skipped or 10.0 + late_s - due_s >= MAX_OWED_TURNS * TURN_S - 1e-6


def test_the_thread_ticks_and_stops() -> None:
    ticked: list[Tick] = []
    engine = Engine(small_model(), 2, admission=CHEAP, observe=ticked.append)
    engine.start()
    slot = engine.open(Inbox(), lambda: None)
    clock_turns: list[Turn] = []
    while len(clock_turns) < 2:
        clock_turns += turns_of(slot)
    assert engine.alive
    engine.stop()
    assert not engine.alive and slot.outbox.read()[1] is End.CLOSED
