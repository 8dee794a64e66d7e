"""Law 2: what goes out in a turn depends only on what came in up to that turn."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from microturn.model.config import MemoryConfig
from microturn.train.batch import Row
from microturn.turn import TURN_SAMPLES, TextIn, TextSource, TurnInput, TurnOutput
from tests.parity.small import as_turns, open_session, random_input, random_row, same, small_network, whole_hidden

NUM_TURNS = 16
CHANGED = 8
"""From this turn on the two sessions of a test differ."""


@pytest.mark.parametrize("seed", range(3))
def test_training_sees_nothing_that_comes_later(seed: int) -> None:
    """Two rows of one batch that begin alike have the same numbers until they part."""
    network = small_network(MemoryConfig(window_turns=5, text_tokens=8, pinned_tokens=2))
    row, other = (random_row(np.random.default_rng((seed, which)), NUM_TURNS) for which in range(2))
    joined = _spliced(row, other)
    hidden = whole_hidden(network, as_turns([row, joined]))
    common = int((row.tokens[:, 3] < CHANGED).sum())
    torch.testing.assert_close(hidden[0, :common], hidden[1, :common], atol=1e-6, rtol=0.0)
    assert (hidden[0, common] - hidden[1, common]).abs().max() > 1e-3


def _spliced(row: Row, other: Row) -> Row:
    """``row`` before turn ``CHANGED``, ``other`` from it on."""
    cut, start = (int((one.tokens[:, 3] < CHANGED).sum()) for one in (row, other))
    first = [patch for patch in row.patches if patch.at < cut]
    last = [patch._replace(at=patch.at - start + cut) for patch in other.patches if patch.at >= start]
    assert row.levels is not None and other.levels is not None
    return replace(
        row,
        tokens=np.concatenate([row.tokens[:cut], other.tokens[start:]]),
        sound=np.concatenate([row.sound[:CHANGED], other.sound[CHANGED:]]),
        levels=np.concatenate([row.levels[:CHANGED], other.levels[CHANGED:]]),
        patches=[*first, *last],
    )


def test_a_session_says_nothing_that_it_has_not_met_yet() -> None:
    """Sessions whose inputs part at a turn give the same bits before it, and not for ever after."""
    rng = np.random.default_rng(0)
    inputs = [random_input(rng) for _ in range(NUM_TURNS)]
    loud = (np.sin(np.arange(TURN_SAMPLES) * 0.3) * 0.8).astype(np.float32)
    endings = {
        "sound": TurnInput(audio=loud),
        "gap": TurnInput(audio=None),
        "picture": TurnInput(audio=loud, frame=np.full((80, 80, 3), 200, np.uint8)),
        "text": TurnInput(audio=loud, texts=(TextIn(TextSource.TYPED, "stop that now"),)),
    }
    usual = _outputs(inputs)
    for name, changed in endings.items():
        outputs = _outputs([*inputs[:CHANGED], changed, *inputs[CHANGED + 1 :]])
        assert all(same(one, other) for one, other in zip(usual[:CHANGED], outputs[:CHANGED], strict=True)), name
        assert not all(same(one, other) for one, other in zip(usual[CHANGED:], outputs[CHANGED:], strict=True)), name


def _outputs(inputs: list[TurnInput]) -> list[TurnOutput]:
    session = open_session()
    return [session.step(given) for given in inputs]
