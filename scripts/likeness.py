"""What is to be seen in how alike pictures are: phases of held-out repetitions told from nothing else.

    .venv/bin/python scripts/likeness.py VIDEOS STEPS

Two recurrent layers read the rows of ``likeness.likeness`` of drawn videos, those held out with other figures, colours
and backgrounds, and tell the phase of every turn, as the task "watch" does. "done" is the turn in which a repetition's
end is seen: how many of them are told, how many of those told are right, and how many videos are counted right by them.
"""

import sys

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from microturn.model.eye import frame_to_patches
from microturn.model.likeness import initial_picture_state, looked
from microturn.model.turns import LIKENESS_SIZE
from microturn.scenario.practice import DONE, NUM_PHASES, WATCHING, make_scenario
from microturn.split import Split

WIDTH = 128
BATCH_VIDEOS = 32
HELDOUT_VIDEOS = 200
RATE = 1e-3
NOTHING = -1
"""Phase of a turn after the video's end."""


class Reader(nn.Module):
    """(B, U, L) likeness to (B, U, phases)."""

    def __init__(self) -> None:
        super().__init__()
        self.inside = nn.Sequential(nn.Linear(LIKENESS_SIZE, WIDTH), nn.GELU(), nn.Linear(WIDTH, WIDTH), nn.GELU())
        self.over_time = nn.GRU(WIDTH, WIDTH, 2, batch_first=True)
        self.out = nn.Linear(WIDTH, NUM_PHASES)

    def forward(self, likeness_BUL: Tensor) -> Tensor:
        scores: Tensor = self.out(self.over_time(self.inside(likeness_BUL))[0])
        return scores


def watched(seed: int, split: Split) -> tuple[NDArray[np.float32], list[int]]:
    """The likeness of every picture of a video, (U, L), and the phases they show."""
    scenario = make_scenario(WATCHING, seed, split, None)
    state, rows = initial_picture_state(4, 1), []
    for turn in sorted(scenario.frames):
        patches = torch.from_numpy(frame_to_patches(scenario.frames[turn], 2))[None]
        seen, state = looked(state, patches, torch.tensor([turn]))
        rows.append(seen.likeness_RL[0].numpy())
    return np.stack(rows), [scenario.phases[turn] for turn in sorted(scenario.frames)]


def side_by_side(videos: list[tuple[NDArray[np.float32], list[int]]]) -> tuple[Tensor, Tensor]:
    longest = max(len(phases) for _, phases in videos)
    likeness = np.zeros((len(videos), longest, LIKENESS_SIZE), np.float32)
    told = np.full((len(videos), longest), NOTHING)
    for row, (rows, phases) in enumerate(videos):
        likeness[row, : len(rows)], told[row, : len(phases)] = rows, phases
    return torch.from_numpy(likeness), torch.from_numpy(told)


def main(num_videos: int, num_steps: int) -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    videos = [watched(seed, "train") for seed in range(num_videos)]
    heldout, phases = side_by_side([watched(seed, "heldout") for seed in range(HELDOUT_VIDEOS)])
    reader = Reader()
    optimiser = torch.optim.AdamW(reader.parameters(), RATE, weight_decay=0.05)
    for step in range(1, num_steps + 1):
        optimiser.param_groups[0]["lr"] = RATE * min(1.0, 2.0 * (1.0 - step / num_steps))
        likeness, told = side_by_side([videos[place] for place in rng.integers(num_videos, size=BATCH_VIDEOS)])
        loss = F.cross_entropy(reader(likeness).flatten(0, 1), told.flatten(), ignore_index=NOTHING)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(reader.parameters(), 1.0)
        optimiser.step()
        if step % 100 == 0 or step == num_steps:
            _report(step, reader, heldout, phases)


@torch.no_grad()
def _report(step: int, reader: Reader, likeness: Tensor, phases: Tensor) -> None:
    is_there = phases != NOTHING
    found = reader(likeness).argmax(-1).masked_fill(~is_there, NOTHING)
    right = (found == phases)[is_there].float().mean()
    told, due = found == DONE, phases == DONE
    both, all_told = (told & due).sum(), told.sum().clamp(min=1)
    missed = (told.sum(1) - due.sum(1)).abs()
    print(
        f"step {step}: phases right {right:.1%}; done {both / due.sum():.0%} told, {both / all_told:.0%} of those"
        f" told right; counted right {(missed == 0).float().mean():.0%}, within one {(missed <= 1).float().mean():.0%}",
        flush=True,
    )


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
