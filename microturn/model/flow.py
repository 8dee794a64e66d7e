"""The flow head: the words being said, how long the newest has lasted and the last turn's sound to 20 mel frames.

Conditional flow matching (Lipman et al. 2022, "Flow Matching for Generative Modeling", section 4.1, optimal-transport
path): along x_s = (1 - s) x_0 + s x_1 from noise x_0 to frames x_1, a small diffusion transformer (Peebles & Xie 2022)
learns the velocity x_1 - x_0. The network puts out frames and the velocity follows from them (Li & He 2025, "Back to
Basics: Let Denoising Generative Models Denoise", section 4): a token's 160 values of noise would not fit through a
narrow network, but its sound does. It sees the clean frames of the last turn, so the sound goes on without a seam, and
adds to a coarse guess, read from the condition by its own regression loss as in Matcha-TTS (Mehta et al. 2023, section
2.2): the guess is there long before the velocity field is good.

The condition is the word that is being said, by its letters (``spelling``), and its age. The assistant says word by
word, so that is all that a turn's sound depends on: the mean of all turns of one word and age is off by 0.003
(docs/log.md). Speaking has no parameter in common with deciding what to say, and can be taught apart, on any words.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from microturn.media.mel import MEL_BANDS, TURN_FRAMES
from microturn.model.config import ModelConfig
from microturn.model.kernels.basics import stacked
from microturn.model.kernels.flow import FlowArrays, flow
from microturn.model.linear import Linear, array, gelu, silu, streams
from microturn.model.spelling import NOTHING, TOKEN_LETTERS, Reader, word_letters

# Shapes: S speaking turns, F frames (20), M bands (80), T flow tokens of a turn, W flow width, V text tokens, K tokens
# of the say lane, L letters of a token.

MIN_TIME_LEFT = 0.15
"""Least denominator of the velocity: no larger than the last Euler step, so that sampling is not touched by it."""
SILENT_MEL = -2.0
"""Normalised value of silence: the frames of a turn that did not speak."""


@dataclass(frozen=True)
class Condition:
    """What the sound of S turns is made from."""

    coarse_SFM: Tensor
    """A first guess of the frames."""
    features_STW: Tensor
    """What that was read from."""
    whole_SW: Tensor
    """Of the whole turn."""

    def select(self, index: Tensor) -> Condition:
        return Condition(self.coarse_SFM[index], self.features_STW[index], self.whole_SW[index])


class FlowBlock(nn.Module):
    """Transformer layer whose norms are modulated by the condition (adaLN-zero)."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = Linear(width, 3 * width)
        self.out = Linear(width, width)
        self.up = Linear(width, 3 * width)
        self.down = Linear(3 * width, width)
        self.modulate = Linear(width, 6 * width)
        nn.init.zeros_(self.modulate.weight)
        nn.init.zeros_(self.modulate.bias)

    def forward(self, x_STW: Tensor, condition_SW: Tensor) -> Tensor:
        width = x_STW.shape[-1]
        shift_a, scale_a, gate_a, shift_f, scale_f, gate_f = self.modulate(condition_SW).unsqueeze(1).chunk(6, dim=-1)
        normed = F.layer_norm(x_STW, (width,)) * (1 + scale_a) + shift_a
        query, key, value = self.qkv(normed).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        x_STW = x_STW + (1 + gate_a) * self.out(attended)
        normed = F.layer_norm(x_STW, (width,)) * (1 + scale_f) + shift_f
        result: Tensor = x_STW + (1 + gate_f) * self.down(gelu(self.up(normed)))
        return result

    def arrays(self) -> FlowArrays:
        layers = (self.modulate, self.qkv, self.out, self.up, self.down)
        return FlowArrays(*(array(x) for layer in layers for x in (layer.weight, layer.bias)))


class FlowHead(nn.Module):
    """Velocity field, its training losses and its sampler."""

    letters_VL: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        flow = config.flow
        self.num_steps = flow.num_steps
        self.frames_per_token = flow.frames_per_token
        self.num_tokens = TURN_FRAMES // flow.frames_per_token
        values = flow.frames_per_token * MEL_BANDS
        self.width, self.num_heads = flow.width, flow.num_heads
        self.register_buffer(
            "letters_VL", torch.full((config.vocab_size, TOKEN_LETTERS), NOTHING, dtype=torch.int64), persistent=False
        )
        self.reader = Reader(config.backbone.width, self.num_tokens)
        self.features = Linear(config.backbone.width, flow.width)
        self.whole = Linear(self.num_tokens * flow.width, flow.width)
        self.guess_out = Linear(flow.width, values)
        self.time = nn.Sequential(Linear(flow.width, flow.width), nn.SiLU(), Linear(flow.width, flow.width))
        self.noisy_in = Linear(2 * values, flow.width)
        self.last_in = Linear(values, flow.width)
        self.place = nn.Parameter(torch.randn(2 * self.num_tokens, flow.width) * 0.02)
        self.blocks = nn.ModuleList(FlowBlock(flow.width, flow.num_heads) for _ in range(flow.num_layers))
        self.out = Linear(flow.width, values)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)
        self._arrays: FlowArrays | None = None

    def train(self, mode: bool = True) -> Self:
        self._arrays = None
        return super().train(mode)

    def condition(self, said_SK: Tensor, age_SK: Tensor) -> Condition:
        """Of turns in which ``said`` are the newest tokens of the say lane, the newest first, and ``age`` their ages
        (turns, the present one included; 0 where nothing is being said)."""
        read_STW = self.reader(*word_letters(self.letters_VL, said_SK, age_SK))
        features_STW = gelu(self.features(read_STW))
        coarse_SFM = self.guess_out(features_STW).reshape(-1, TURN_FRAMES, MEL_BANDS)
        return Condition(coarse_SFM, features_STW, self.whole(features_STW.flatten(1)))

    def velocity(self, noisy_SFM: Tensor, time_S: Tensor, given: Condition, last_SFM: Tensor) -> Tensor:
        """Velocity (S, F, M) at position ``noisy`` and flow time 0..1."""
        coarse = given.coarse_SFM.detach()
        condition = silu(given.whole_SW + self.time(self._time_features(time_S)))
        now = self.noisy_in(torch.cat([self._group(noisy_SFM), self._group(coarse)], -1)) + given.features_STW
        x = torch.cat([self.last_in(self._group(last_SFM)), now], 1) + self.place
        for block in self.blocks:
            x = block(x, condition)
        change = self.out(F.layer_norm(x[:, self.num_tokens :], (self.width,)))
        frames = coarse + change.reshape(noisy_SFM.shape)
        left = (1 - time_S).clamp(min=MIN_TIME_LEFT)[:, None, None]
        velocity: Tensor = (frames - noisy_SFM) / left
        return velocity

    def velocity_loss(
        self,
        given: Condition,
        last_SFM: Tensor,
        target_SFM: Tensor,
        noise_SFM: Tensor,
        time_S: Tensor,
    ) -> Tensor:
        """Mean squared error of the velocity at ``time`` on the way from ``noise`` to ``target``."""
        at = time_S[:, None, None]
        noisy = (1 - at) * noise_SFM + at * target_SFM
        velocity = self.velocity(noisy, time_S, given, last_SFM)
        left = (1 - at).clamp(min=MIN_TIME_LEFT)
        return F.mse_loss(velocity.float(), ((target_SFM - noisy) / left).float())

    @torch.no_grad()
    def sample(self, given: Condition, last_SFM: Tensor, noise_SFM: Tensor) -> Tensor:
        """Euler integration from ``noise`` (flow time 0) to frames (flow time 1), (S, F, M), normalised units."""
        x = noise_SFM
        if streams(x):
            return self._streamed(given, last_SFM, x)
        for step in range(self.num_steps):
            time = torch.full((x.shape[0],), step / self.num_steps, device=x.device, dtype=x.dtype)
            x = x + self.velocity(x, time, given, last_SFM) / self.num_steps
        return x

    def _streamed(self, given: Condition, last_SFM: Tensor, x_SFM: Tensor) -> Tensor:
        """Sampling on a CPU."""
        time_P = torch.arange(self.num_steps, device=x_SFM.device) / self.num_steps
        times_PW = self.time(self._time_features(time_P))
        if self._arrays is None:
            self._arrays = stacked([block.arrays() for block in self.blocks if isinstance(block, FlowBlock)])
        frames = flow(
            array(x_SFM),
            array(given.coarse_SFM),
            array(given.features_STW + self.place[self.num_tokens :]).reshape(-1, self.width),
            array(self.last_in(self._group(last_SFM)) + self.place[: self.num_tokens]).reshape(-1, self.width),
            array(silu(given.whole_SW + times_PW.unsqueeze(1))),
            self.num_heads,
            MIN_TIME_LEFT,
            array(self.noisy_in.weight),
            array(self.noisy_in.bias),
            array(self.out.weight),
            array(self.out.bias),
            self._arrays,
        )
        return torch.from_numpy(frames)

    def _group(self, frames_SFM: Tensor) -> Tensor:
        return frames_SFM.reshape(frames_SFM.shape[0], self.num_tokens, self.frames_per_token * MEL_BANDS)

    def _time_features(self, time_S: Tensor) -> Tensor:
        half = self.width // 2
        frequency = torch.exp(torch.arange(half, device=time_S.device) * (-math.log(1000.0) / half)) * 100.0
        angle = time_S.float().unsqueeze(-1) * frequency
        features = torch.cat([angle.cos(), angle.sin()], -1)
        return F.pad(features, (0, self.width - 2 * half)).to(self.place.dtype)
