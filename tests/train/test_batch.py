"""Batches: rows side by side are told what they are told alone, and padding nothing."""

from __future__ import annotations

import numpy as np
import torch

from microturn.model.outputs import SAY_WEIGHT
from microturn.model.turns import Kind, Sound
from microturn.train.batch import PLACES_OF_TURN, Batch, Head, Row, Targets, collate
from microturn.train.sessions import Packer
from tests.train import tiny

PACKER = Packer(tiny.materials().tokenizer, 2, None)


def rows(count: int, *, spoken: bool = False) -> list[Row]:
    pack = PACKER.spoken_row if spoken else PACKER.row
    return [pack(tiny.echo(seed, 9 + seed), np.random.default_rng(seed)) for seed in range(count)]


def test_places_point_at_the_same_tokens_as_in_the_row() -> None:
    def pointed(batch: Batch, at_N: torch.Tensor) -> list[list[int]]:
        turns = batch.turns
        tokens = torch.stack([turns.kind_BT, turns.payload_BT, turns.unit_BT], -1).flatten(0, 1)
        found: list[list[int]] = tokens[at_N].tolist()
        return found

    single = rows(3)
    alone = np.concatenate([row.tokens[row.targets[Head.SAY].at_P.numpy()][:, [0, 2, 3]] for row in single])
    batch = collate("echo", single, 40, 16)
    assert pointed(batch, batch.targets[Head.SAY].at_P) == alone.tolist()
    single = rows(6, spoken=True)
    batch = collate("echo", single, 40, 16)
    assert batch.mel is not None
    alone = np.concatenate([row.tokens[row.mel.at_S.numpy()][:, [0, 2, 3]] for row in single if row.mel is not None])
    assert pointed(batch, batch.mel.at_S) == alone.tolist()
    chosen = [row.mel.mel_SFM[row.mel.flow_V] for row in single if row.mel is not None]
    assert torch.equal(batch.mel.mel_SFM[batch.mel.flow_V], torch.cat(chosen)) and len(batch.mel.flow_V)


def test_hearing_places_count_the_turns_of_the_batch() -> None:
    def heard(num_turns: int) -> Row:
        targets = {
            head: Targets.of([(place, place, 1.0) for place in range(num_turns * places)])
            for head, places in PLACES_OF_TURN.items()
        }
        return Row(
            sound=np.full(num_turns, Sound.QUIET, np.int64),
            levels=np.full((num_turns, 20, 80), num_turns, np.uint8),
            targets=targets,
        )

    batch = collate("hear", [heard(3), heard(2)], 0, 4)
    for head, places in PLACES_OF_TURN.items():
        targets = batch.targets[head]
        assert (targets.at_P - targets.value_P).tolist() == [0] * 3 * places + [4 * places] * 2 * places
        assert batch.totals[head] == 5 * places
    assert batch.turns.levels_BUFM[:, :, 0, 0].tolist() == [[3, 3, 3, 0], [2, 2, 0, 0]]
    assert batch.turns.kind_BT.shape == (2, 0) and batch.mel is None and batch.wave is None


def test_padding_is_not_valid_and_what_is_unknown_takes_no_room() -> None:
    single = rows(2)
    batch = collate("echo", single, 40, 16)
    assert batch.turns.valid_BT.sum(1).tolist() == [len(row.tokens) for row in single]
    assert batch.turns.levels_BUFM.shape == (2, 0, 20, 80) and len(batch.turns.patch_NPPC) == 0
    assert (batch.turns.kind_BT[batch.turns.valid_BT] == Kind.SAY).sum() == 2


def test_totals_are_the_weights_of_all_targets() -> None:
    assert collate("echo", rows(3), 40, 16).totals == {Head.SAY: 3 * SAY_WEIGHT + 9 + 10 + 11}
    batch = collate("echo", rows(3, spoken=True), 40, 16)
    assert batch.mel is not None
    assert batch.totals == {Head.GUESS: 6.0, Head.FLOW: float(len(batch.mel.flow_V))}
    wave = next(iter(tiny.VowelRows().open(tiny.materials())(np.random.default_rng(0), 1)))
    voice = collate("voice", [wave, wave], 0, 0)
    assert voice.wave is not None
    assert voice.totals[Head.SPECTRUM] == 2.0 and voice.totals[Head.VOICING] == 128.0
    assert voice.totals[Head.PITCH] == float(voice.wave.voiced_BF.sum())


def test_everything_moves_to_a_device() -> None:
    rng = np.random.default_rng(0)
    row = PACKER.row(tiny.echo(0), rng)
    row.mel = PACKER.spoken_row(tiny.echo(0), rng).mel
    row.wave = tiny.VowelRows().open(tiny.materials())(rng, 1)[0].wave
    moved = collate("all", [row], 40, 16).to(torch.device("meta"))
    assert moved.mel is not None and moved.wave is not None
    parts = [moved.turns, moved.mel, moved.wave, *moved.targets.values()]
    assert {tensor.device.type for part in parts for tensor in vars(part).values()} == {"meta"}
