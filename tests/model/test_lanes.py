"""The words that a token comes after: one vectorised function against a loop over tokens."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from microturn.model.lanes import MAX_AGE, NONE, SAID_TOKENS, USER_TOKENS, Lanes, LaneState, initial_lane_state, lanes
from microturn.model.turns import End, Kind, Source, Turns
from microturn.train.batch import Row
from tests.parity.small import as_turns, part_of

WORDS = 3

tokens = st.tuples(
    st.sampled_from([*Kind]), st.sampled_from([*Source]), st.integers(0, 2), st.sampled_from([0, 0, 0, 1, 1, 2, 9])
)
"""(kind, source, payload, turns since the token before)."""
sequences = st.lists(tokens, max_size=24)


def turns_of(rows: list[list[tuple[Kind, Source, int, int]]]) -> Turns:
    """Rows of ``tokens`` as turns; shorter rows are padded."""
    arrays = []
    for row in rows:
        unit = np.cumsum([0, *(later for *_, later in row)])[1:]
        arrays.append(
            np.array([(*token[:3], at, 0) for token, at in zip(row, unit, strict=True)], np.int64).reshape(-1, 5)
        )
    return as_turns([Row(tokens=array, sound=np.zeros(1, np.int64)) for array in arrays])


def slow_lanes(row: NDArray[np.int64]) -> list[tuple[list[int], list[int], list[int], int]]:
    """For every token (T, 5) of a row: the newest words of both sides, the newest first, the ages of the model's, and
    how many it has said since it listened."""
    user, model, read = [NONE] * USER_TOKENS, [NONE] * SAID_TOKENS, [NONE] * USER_TOKENS
    replying, said_turns, known, num_said = False, [0] * SAID_TOKENS, [], 0
    for kind, source, payload, turn, _ in row.tolist():
        if kind == Kind.HEAR or (kind == Kind.TEXT_IN and source == Source.TYPED):
            user = [payload, *user]
        is_read = kind == Kind.TEXT_IN and source != Source.TYPED
        if is_read:
            read = [payload, *read]
        if kind == Kind.SAY:
            model, replying, said_turns = [payload, *model], True, [turn, *said_turns]
            num_said += 1
        if kind == Kind.NOW and payload != End.SPEAK:
            replying, num_said = False, 0
        ages = [max(0, min(turn - said + 1, MAX_AGE)) if replying else 0 for said in said_turns[:SAID_TOKENS]]
        known.append(((read if is_read else user)[:USER_TOKENS], model[:SAID_TOKENS], ages, num_said))
    return known


def as_lists(known: Lanes, turns: Turns, row: int) -> list[tuple[list[int], list[int], list[int], int]]:
    count = int(turns.valid_BT[row].sum())
    columns = tuple(
        value[row, :count] for value in (known.user_BTK, known.model_BTK, known.age_BTK, known.after_BT.num_said_R)
    )
    return list(zip(*(column.tolist() for column in columns), strict=True))


@given(st.lists(sequences, min_size=1, max_size=3).filter(any), st.integers(0, 24))
def test_lanes_against_a_loop(rows: list[list[tuple[Kind, Source, int, int]]], cut: int) -> None:
    """In one piece, and in two with the state handed over."""
    turns = turns_of(rows)
    initial = initial_lane_state(len(rows), WORDS)
    known, after = lanes(turns, initial)
    for row in range(len(rows)):
        count = int(turns.valid_BT[row].sum())
        columns = (turns.kind_BT, turns.source_BT, turns.payload_BT, turns.turn_BT, turns.slot_BT)
        slow = slow_lanes(torch.stack(columns, -1)[row, :count].numpy())
        assert as_lists(known, turns, row) == slow
        if slow:
            users = [words for (words, *_), read in zip(slow, _reads(turns, row), strict=True) if not read]
            assert after.model_RK[row].tolist() == slow[-1][1]
            assert not users or after.user_RK[row].tolist() == users[-1]
    length = turns.kind_BT.shape[1]
    if 0 < cut < length:
        first, state = lanes(part_of(turns, slice(0, cut)), initial)
        second, last = lanes(part_of(turns, slice(cut, length)), state)
        for (name, whole), part, other in zip(_tensors(known), _tensors(first), _tensors(second), strict=True):
            parts = torch.cat([part[1], other[1]], 1)
            assert torch.equal(whole[turns.valid_BT], parts[turns.valid_BT]), name
        assert _same(last, after)


def _tensors(known: Lanes) -> list[tuple[str, torch.Tensor]]:
    own = [(name, value) for name, value in vars(known).items() if isinstance(value, torch.Tensor)]
    return [*own, *known.after_BT.named()]


def _reads(turns: Turns, row: int) -> list[bool]:
    """Which tokens are of texts that nobody said."""
    is_read = (turns.kind_BT[row] == Kind.TEXT_IN) & (turns.source_BT[row] != Source.TYPED)
    return is_read[: int(turns.valid_BT[row].sum())].tolist()


def _same(one: LaneState, other: LaneState) -> bool:
    return all(torch.equal(a, b) for (_, a), (_, b) in zip(one.named(), other.named(), strict=True))


def test_only_what_the_user_says_or_types_is_his_word() -> None:
    """A job's result, a tool's and instructions are read, and are not what the user said last."""
    row = [(Kind.HEAR, Source.SPOKEN, 1, 0)]
    row += [(Kind.TEXT_IN, source, 2, 1) for source in (Source.JOB, Source.TOOL, Source.INSTRUCTIONS)]
    turns = turns_of([[*row, (Kind.NOW, Source.SELF, 0, 0), (Kind.TEXT_IN, Source.TYPED, 2, 1)]])
    known, after = lanes(turns, initial_lane_state(1, WORDS))
    newest = [[1], [2], [2, 2], [2, 2, 2], [1]]
    assert known.user_BTK[0, :5].tolist() == [words + [NONE] * (USER_TOKENS - len(words)) for words in newest]
    assert after.user_RK[0, :3].tolist() == [2, 1, NONE]


def test_a_reply_ages_until_the_model_listens() -> None:
    now = [(Kind.NOW, Source.SELF, int(end), 1) for end in (End.START, *[End.SPEAK] * 10, End.LISTEN, End.SPEAK)]
    row = [now[0], (Kind.SAY, Source.SELF, 1, 0), *now[1:]]
    known, _ = lanes(turns_of([row]), initial_lane_state(1, WORDS))
    assert known.age_BTK[0, :, 0].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 8, 8, 8, 0, 0]


def test_a_row_without_tokens_keeps_its_state() -> None:
    _, before = lanes(turns_of([[(Kind.SAY, Source.SELF, 2, 3)], []]), initial_lane_state(2, WORDS))
    _, after = lanes(turns_of([[], [(Kind.HEAR, Source.SPOKEN, 1, 0)]]), before)
    assert _same(after.select(torch.tensor([0])), before.select(torch.tensor([0])))
    assert after.user_RK[1, :2].tolist() == [1, NONE]
