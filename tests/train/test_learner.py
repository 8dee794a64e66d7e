"""The learner: losses of all heads in one pass, and nothing in it waits for the device."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from microturn.language.tokenizer import default_tokenizer
from microturn.model.config import ModelConfig
from microturn.model.lanes import initial_lane_state, lanes
from microturn.model.pointing import letters_at, letters_said, next_read
from microturn.model.spelling import FIRST_LETTER, renamed, spelt
from microturn.scenario.practice import RESULTS, SPELLING, make_scenario
from microturn.train.batch import Head, collate
from microturn.train.learner import HEAD_WEIGHTS, Learner
from microturn.train.sessions import Packer
from microturn.train.tasks import batches_of
from tests.parity.small import as_turns, part_of
from tests.train import tiny

HEADS = {
    "hear": {Head.WORDS, Head.VOICE, Head.PHONES},
    "decide": {Head.SAY},
    "watch": {Head.PHASES},
    "speak": {Head.GUESS, Head.FLOW},
    "voice": {Head.SPECTRUM, Head.MEL, Head.NOISE, Head.PITCH, Head.VOICING},
}
WAITING = ("_local_scalar_dense", "nonzero", "masked_select", "equal")
"""Operations whose result the host has to wait for."""


class Impatient(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes what would wait for a device."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.waited: list[str] = []

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        name = getattr(func, "__name__", "").partition(".")[0]
        indices = args[1] if name in ("index", "index_put_", "index_put") else ()
        by_mask = any(isinstance(index, Tensor) and index.dtype == torch.bool for index in indices)
        if name in WAITING or by_mask:
            self.waited.append(name)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", HEADS)
def test_a_task_is_told_by_its_heads(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    learner = Learner(tiny.model(), tiny.VOCODER)
    (batch,) = islice(batches_of(name, tiny.TASKS[name], tiny.materials(tiny.fill_bank(tmp_path)), (0,)), 1)
    told = learner(batch)
    assert told.losses.keys() == HEADS[name] == batch.totals.keys()
    for head, loss in told.losses.items():
        assert loss.ndim == 0 and 0 < float(loss.detach()) < 1e6, head
        total, right, count = told.figures[f"{name}/{head}"].tolist()
        assert count > 0 and 0 <= right <= count
        if head in (Head.WORDS, Head.VOICE, Head.PHONES, Head.PHASES):  # their targets weigh the same
            assert total == pytest.approx(float(loss.detach()), rel=1e-5) and count == batch.totals[head]


@pytest.mark.parametrize("name", ["hear", "speak", "voice"])
def test_nothing_waits_for_the_device(name: str, tmp_path: Path) -> None:
    learner = Learner(tiny.model(), tiny.VOCODER)
    (batch,) = islice(batches_of(name, tiny.TASKS[name], tiny.materials(tiny.fill_bank(tmp_path)), (0,)), 1)
    with Impatient() as impatient:
        told = learner(batch)
        torch.autograd.backward(torch.stack(list(told.losses.values())).sum())
    assert impatient.waited == []


def test_every_head_has_a_weight() -> None:
    assert HEAD_WEIGHTS.keys() == set(Head) == set().union(*HEADS.values())


@pytest.mark.assistant
def test_what_is_pointed_at_in_training_is_what_streaming_would_point_at() -> None:
    """Of two sessions of unlike length, the letters of one moved on; against token by token."""
    tokenizer = default_tokenizer()
    packer = Packer(tokenizer, 2, None)
    rows = [
        packer.row(make_scenario(family, 1, "train", None), np.random.default_rng(0)) for family in (SPELLING, RESULTS)
    ]
    rows[0].renamed = 3
    batch = collate("decide", rows, max(len(row.tokens) for row in rows), max(row.num_turns for row in rows))
    learner = Learner(ModelConfig.of_size(1, vocab_size=tokenizer.vocab_size), tiny.VOCODER)
    learner.network.spell(tokenizer)
    given: list[Tensor] = []
    learner.network.say.register_forward_pre_hook(lambda _, args: given.extend(args[2:]))
    with torch.no_grad():
        learner(batch)
    table, place = spelt(tokenizer), 0
    for row in rows:
        state = initial_lane_state(1, 1)
        tokens = as_turns([row])
        told = set(row.targets[Head.SAY].at_P.tolist())
        for at in range(len(row.tokens)):
            _, state = lanes(part_of(tokens, slice(at, at + 1)), state)
            if at in told:
                letters = letters_at(table, state.user_RK, letters_said(table, state.model_RK, state.num_said_R))
                said, came = (state.model_RK, state.said_turn_RK), (state.read_RK, state.read_turn_RK)
                read = next_read(table, *came, *said, state.num_said_R)
                assert torch.equal(given[0][place], renamed(letters, torch.tensor(row.renamed))[0])
                assert torch.equal(given[1][place], read[0])
                place += 1
    assert place == len(given[0]) == len(given[1])
    assert (given[0] >= FIRST_LETTER).sum() > 10 and (given[1] >= 0).sum() > 10
