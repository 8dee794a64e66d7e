"""Two ways of learning to hear, from nothing, for an equal time: what is said at every 100 ms, or in which order alone.

    .venv/bin/python scripts/learn-to-hear.py WAY MINUTES BANK DATA

WAY is ``times`` (the recipe's losses: words near their places, phones every 50 ms) or ``order`` (connectionist temporal
classification, Graves et al. 2006, of words and of phones, on the same layers). Same network, sessions, optimiser and
one thread; run both side by side. MINUTES are of a core, whatever else is running. Every five of them held-out sessions
are told, and a line for every source says how many of the words were written, in order, and how many others, as a share
of those said.
"""

import sys
import time
from dataclasses import replace
from difflib import SequenceMatcher
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from microturn.language.tokenizer import default_tokenizer
from microturn.model.hearing import NO_WORD, initial_hearing_state, turn_levels
from microturn.model.turns import Sound
from microturn.recipes import HEARING, nano, optim
from microturn.train.batch import Batch, Head, collate
from microturn.train.hear import ListeningRows
from microturn.train.learner import HEAD_WEIGHTS, Learner
from microturn.train.optim import Optimiser
from microturn.train.tasks import Materials, batches_of
from microturn.voices.phones import PHONES

RATE, WARMUP_STEPS = 0.8, 100
LOOK_MINUTES = 5.0
SESSIONS = 12
SOURCES = ("synthesised", "kokoro", "commands", "digits", "natives", "sentences")


def heard(learner: Learner, batch: Batch) -> tuple[Tensor, Tensor]:
    """Scores of words (B, T, V + 1) and of phones (B, 2 T, P)."""
    turns, hearing = batch.turns, learner.network.hearing
    state = initial_hearing_state(hearing.config, len(turns.start_B))
    hidden_BTD, probed_BTD, _ = hearing(
        turn_levels(turns.levels_BUFM), turns.sound_BU != Sound.GAP, state, learner.phone_layers
    )
    phones = learner.phones(probed_BTD)
    return hearing.words(hidden_BTD), phones.view(len(phones), -1, len(PHONES))


def in_order(scores_BTO: Tensor, labels_BT: Tensor, nothing: int) -> Tensor:
    """The loss of what is labelled, in its order, repeated labels in a row being one."""
    sequences = [torch.unique_consecutive(row) for row in labels_BT]
    sequences = [row[row != nothing] for row in sequences]
    return F.ctc_loss(
        scores_BTO.float().log_softmax(-1).transpose(0, 1),
        torch.cat(sequences),
        torch.full((len(scores_BTO),), scores_BTO.shape[1]),
        torch.tensor([len(row) for row in sequences]),
        blank=nothing,
        reduction="sum",
        zero_infinity=True,
    ) / labels_BT.numel()  # fmt: skip


def loss_of(way: str, learner: Learner, batch: Batch) -> Tensor:
    """The mean loss of a batch."""
    if way == "times":
        told = learner(batch)
        return torch.stack([HEAD_WEIGHTS[head] / batch.totals[head] * loss for head, loss in told.losses.items()]).sum()
    loss = torch.zeros(())
    for head, scores_BTO, nothing in zip((Head.WORDS, Head.PHONES), heard(learner, batch), (-1, 0), strict=True):
        labels_BT = batch.targets[head].value_P.view(scores_BTO.shape[:2])
        loss = loss + HEAD_WEIGHTS[head] * in_order(scores_BTO, labels_BT, nothing % scores_BTO.shape[-1])
    return loss


@torch.inference_mode()
def figures(learner: Learner, batches: dict[str, Batch]) -> str:
    """Right and extra by source."""
    learner.eval()
    parts = []
    for source, batch in batches.items():
        turns, hearing = batch.turns, learner.network.hearing
        state = initial_hearing_state(hearing.config, len(turns.start_B))
        hidden_BTD, _, _ = hearing(turn_levels(turns.levels_BUFM), turns.sound_BU != Sound.GAP, state)
        nothing = hearing.words.out_features - 1
        labels_BT = batch.targets[Head.WORDS].value_P.view(hidden_BTD.shape[:2])
        said = right = written = 0
        for tokens, labels in zip(hearing.written(hidden_BTD), labels_BT, strict=True):
            wrote = [int(token) for token in torch.unique_consecutive(tokens) if token != NO_WORD]
            meant = [int(token) for token in labels if token != nothing]
            blocks = SequenceMatcher(None, wrote, meant, autojunk=False).get_matching_blocks()
            said, written = said + len(meant), written + len(wrote)
            right += sum(block.size for block in blocks)
        parts.append(f"{source} {right / max(1, said):.0%} ({(written - right) / max(1, said):.0%})")
    learner.train()
    return ", ".join(parts)


def main(way: str, minutes: float, bank: Path, data: Path) -> None:
    """Train and tell."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    recipe = nano()
    learner = Learner(recipe.model)
    config = optim(RATE, *HEARING)
    half = torch.cpu._is_avx512_bf16_supported()
    optimiser = Optimiser(learner, config, torch.bfloat16 if half else torch.float32)
    materials = Materials(tokenizer=default_tokenizer(), patch_rows=2, augment=recipe.augment, bank=bank, data=data)
    unchanged = replace(materials, split="heldout", augment=None)
    held_out = {}
    for source, rows_of in ListeningRows().families(unchanged).items():
        if source in SOURCES:
            draw = rows_of.open(unchanged)
            rows = [row for number in range(SESSIONS) for row in draw(np.random.default_rng((1, number)), 1)]
            held_out[source] = collate(source, rows, 0, rows[0].num_turns)
    batches = batches_of("hear", recipe.train.tasks["hear"], materials, (0,))
    begun, looked, step, total = time.process_time(), 0.0, 0, 0.0
    while (spent := (time.process_time() - begun) / 60) < minutes:
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            loss = loss_of(way, learner, next(batches))
        torch.autograd.backward(loss)
        left = (minutes - spent) / (0.4 * minutes)
        optimiser.step(min(1.0, (step + 1) / WARMUP_STEPS, left))
        step, total = step + 1, total + float(loss.detach())
        if spent - looked > LOOK_MINUTES:
            looked = spent
            print(f"{way}: {spent:.0f} minutes, step {step}: {figures(learner, held_out)}", flush=True)
    print(f"{way}: end, step {step}, mean loss {total / step:.3f}: {figures(learner, held_out)}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), Path(sys.argv[3]), Path(sys.argv[4]))
