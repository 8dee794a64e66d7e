"""The one convention for memory: dataclasses of tensors by row, at any depth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load, save
from torch import Tensor

from microturn.errors import InputError
from microturn.model.config import MemoryConfig
from microturn.model.rows import Rows
from microturn.model.state import State
from tests.parity.small import SHORT_MEMORY, fresh_state


@dataclass(frozen=True)
class Inner(Rows):
    flag_R: Tensor
    rings: tuple[Tensor, ...]


@dataclass(frozen=True)
class Outer(Rows):
    count_R: Tensor
    inner: Inner
    table_RW: Tensor


def rows_of(num_rows: int, seed: int = 0) -> Outer:
    draw = torch.Generator().manual_seed(seed)
    return Outer(
        count_R=torch.randint(0, 99, (num_rows,), generator=draw),
        inner=Inner(
            torch.rand(num_rows, generator=draw) < 0.5, tuple(torch.randn(num_rows, 2, 3, generator=draw) for _ in "ab")
        ),
        table_RW=torch.randn(num_rows, 5, generator=draw),
    )


def equal(one: Rows, other: Rows) -> bool:
    return all(torch.equal(a, b) for (_, a), (_, b) in zip(one.named(), other.named(), strict=True))


def row(rows: Rows, index: int) -> Rows:
    return rows.select(torch.tensor([index]))


def test_names_go_all_the_way_down() -> None:
    names = [name for name, _ in rows_of(2).named()]
    assert names == ["count_R", "inner.flag_R", "inner.rings.0", "inner.rings.1", "table_RW"]
    assert rows_of(3).num_rows == 3
    assert rows_of(3).num_bytes() == 3 * (8 + 1 + 2 * 6 * 4 + 5 * 4)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=6))
def test_select_takes_rows_in_any_order(index: list[int]) -> None:
    rows = rows_of(4)
    chosen = rows.select(torch.tensor(index))
    assert all(equal(row(chosen, place), row(rows, which)) for place, which in enumerate(index))


@given(st.sets(st.integers(0, 3), min_size=1))
def test_put_changes_the_named_rows_alone(places: set[int]) -> None:
    rows, others = rows_of(4), rows_of(len(places), 1)
    before = rows.mapped(lambda _, tensor: tensor.clone())
    changed = rows.put(torch.tensor(sorted(places)), others)
    assert equal(rows, before), "a new value is made; this one stays"
    for index in range(4):
        expected = row(others, sorted(places).index(index)) if index in places else row(rows, index)
        assert equal(row(changed, index), expected)


@given(st.lists(st.booleans(), min_size=4, max_size=4), st.booleans())
def test_where_chooses_row_by_row(mask: list[bool], one_for_all: bool) -> None:
    rows, others = rows_of(4), rows_of(1 if one_for_all else 4, 1)
    mixed = rows.where(torch.tensor(mask), others)
    for index, changes in enumerate(mask):
        expected = row(others, 0 if one_for_all else index) if changes else row(rows, index)
        assert equal(row(mixed, index), expected)


@given(st.integers(0, 3), st.integers(0, 2))
def test_export_and_import(source: int, target: int) -> None:
    rows, others = rows_of(4), rows_of(3, 1)
    changed = others.imported(target, rows.export(source))
    for index in range(3):
        assert equal(row(changed, index), row(rows, source) if index == target else row(others, index))


def test_tensors_of_a_fresh_state_share_no_memory() -> None:
    """Else a session that is put in place of one in which nothing has happened is not what it was."""
    state, other = fresh_state(SHORT_MEMORY, rows=2), fresh_state(SHORT_MEMORY)
    marked = other.mapped(lambda name, tensor: torch.full_like(tensor, sum(name.encode()) % 2))
    state.overwrite(1, marked)
    assert state.export(1) == marked.export(0)


def exported() -> bytes:
    return fresh_state(SHORT_MEMORY).export(0)


def _without(name: str) -> bytes:
    tensors = load(exported())
    del tensors[name]
    return save(tensors)


def _with(name: str, value: Tensor) -> bytes:
    return save({**load(exported()), name: value})


RUBBISH: dict[str, Callable[[], bytes]] = {
    "nothing": lambda: b"",
    "text": lambda: b"hello, I am a session",
    "zeros": lambda: bytes(5_000),
    "half": lambda: exported()[: len(exported()) // 2],
    "a header alone": lambda: exported()[:400],
    "a part missing": lambda: _without("turn_R"),
    "a part too many": lambda: _with("surprise", torch.zeros(2)),
    "another shape": lambda: _with("ended_R", torch.zeros(2, dtype=torch.int64)),
    "another type": lambda: _with("ended_R", torch.zeros((), dtype=torch.int32)),
    "another size": lambda: fresh_state(SHORT_MEMORY, size=2).export(0),
    "another memory": lambda: fresh_state(MemoryConfig(window_turns=6)).export(0),
}


@pytest.mark.parametrize("name", RUBBISH)
def test_what_is_no_session_of_this_model_is_refused(name: str) -> None:
    state = fresh_state(SHORT_MEMORY, rows=2)
    before: State = state.mapped(lambda _, tensor: tensor.clone())
    with pytest.raises(InputError, match="exported session") as error:
        state.imported(1, RUBBISH[name]())
    assert "\n" not in str(error.value)
    assert equal(state, before)
