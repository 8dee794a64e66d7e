"""What training minimises: the lanes' cross-entropy, the flow head's velocity error and its coarse guess."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from microturn.model.backbone import Window
from microturn.model.model import Network
from microturn.model.tokens import SAY_WEIGHT
from microturn.train.pack import Batch

# Shapes: P predictions, O output ids, S speaking turns, D width.


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """Weights of the parts."""

    flow: float = 0.2
    guess: float = 1.0
    say: float = SAY_WEIGHT
    """Of a word to be said, relative to other predictions."""
    spelling: float = 0.5
    """Of the letters in listening steps, relative to their words."""
    max_flow_turns: int = 192
    """At most so many speaking turns of a batch train the velocity (drawn at random), which costs as much as the
    backbone; the coarse guess is trained on all of them."""
    last_mel_noise: float = 0.25
    """Largest standard deviation of noise on the fed-back frames, normalised units."""


@dataclass(frozen=True)
class Losses:
    """Parts of one batch's loss; ``right_P`` tells which predictions were right."""

    total: Tensor
    lanes: Tensor
    flow: Tensor
    guess: Tensor
    right_P: Tensor


def lane_loss(scores_PO: Tensor, batch: Batch, vocab_size: int, say_weight: float) -> tuple[Tensor, Tensor]:
    """(mean cross-entropy, right_P). Where the user's words are unknown the hear lane takes no part."""
    scores = scores_PO.float()
    hear_ids = torch.arange(scores.shape[1], device=scores.device) < vocab_size
    scores = scores.masked_fill(batch.hear_unknown_P[:, None] & hear_ids, float("-inf"))
    is_say_P = (batch.predict_P >= vocab_size) & (batch.predict_P < 2 * vocab_size)
    weight_P = torch.where(is_say_P, say_weight, 1.0)
    loss_P = F.cross_entropy(scores, batch.predict_P, reduction="none")
    return (weight_P * loss_P).sum() / weight_P.sum(), scores.argmax(-1) == batch.predict_P


def sound_losses(
    network: Network, hidden_ND: Tensor, batch: Batch, config: LossConfig, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """(velocity loss, guess loss) of the speaking turns."""
    at_S = batch.speak_at_S
    if not len(at_S):
        return torch.zeros((), device=at_S.device), torch.zeros((), device=at_S.device)
    said_S, age_S = (values.flatten()[at_S] for values in (batch.sequence.newest_said_BT, batch.sequence.age_BT))
    given_SC = network.voice(hidden_ND[at_S], said_S, age_S)
    coarse_SFM, features_STW = network.flow.guess(given_SC)
    guess = F.l1_loss(coarse_SFM.float(), batch.mel_SFM.float())
    chosen = torch.randperm(len(at_S), generator=generator)[: config.max_flow_turns].to(at_S.device)
    target, last = batch.mel_SFM[chosen], batch.last_mel_SFM[chosen]
    time = torch.rand(len(chosen), generator=generator)
    noise = torch.randn(target.shape, generator=generator)
    blur = torch.randn(target.shape, generator=generator)
    blur *= torch.rand(len(chosen), 1, 1, generator=generator) * config.last_mel_noise
    blur = blur.to(last.device) * (last > -1.999).any(-1).any(-1)[:, None, None]  # silence stays silence
    flow = network.flow.velocity_loss(
        given_SC[chosen],
        (coarse_SFM[chosen], features_STW[chosen]),
        last + blur,
        target,
        noise.to(last.device),
        time.to(last.device),
    )
    return flow, guess


def compute_losses(
    network: Network, batch: Batch, window: Window, config: LossConfig, generator: torch.Generator
) -> Losses:
    """All parts for one batch; ``generator`` (CPU) draws flow times, noise and which turns train the flow head."""
    with network.embedder.letters.called(batch.letter_names_L):
        hidden_ND = network(batch.sequence, window).flatten(0, 1)
        scores = network.lane_scores(hidden_ND[batch.predict_at_P])
    lanes, right = lane_loss(scores, batch, network.config.vocab_size, config.say)
    flow, guess = sound_losses(network, hidden_ND, batch, config, generator)
    total = lanes + config.flow * flow + config.guess * guess
    return Losses(total, lanes.detach(), flow.detach(), guess.detach(), right)
