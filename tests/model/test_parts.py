"""The parts of the network against slow references: mel and dMel, ear, patches and eye, experts, flow, rotary."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from microturn.model.config import ModelConfig
from microturn.model.ear import Ear, with_context
from microturn.model.eye import PATCH_PIXELS, Eye, frame_to_patches
from microturn.model.flow import CONDITION_PARTS, FlowHead
from microturn.model.mel import (
    HISTORY_SAMPLES,
    HOP_SAMPLES,
    LOG_CEIL,
    LOG_FLOOR,
    MEL_BANDS,
    WINDOW_SAMPLES,
    denormalise_mel,
    dmel_levels,
    log_mel,
    mel_filters,
    normalise_mel,
)
from microturn.model.moe import MixtureOfExperts
from microturn.model.rotary import Rotation, frequencies, rotate

CONFIG = ModelConfig.of_size(1, vocab_size=50)


def test_log_mel_against_a_sum_over_samples() -> None:
    """One frame, with the Fourier sum written out."""
    rng = np.random.default_rng(0)
    pcm = rng.normal(0, 0.1, 3 * HOP_SAMPLES).astype(np.float32)
    frame = 2
    end = (frame + 1) * HOP_SAMPLES
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW_SAMPLES) / WINDOW_SAMPLES)
    padded = np.concatenate([np.zeros(HISTORY_SAMPLES), pcm])
    samples = padded[HISTORY_SAMPLES + end - WINDOW_SAMPLES : HISTORY_SAMPLES + end] * window * 2 / window.sum()
    bins = np.arange(257)[:, None]
    spectrum = (samples[None] * np.exp(-2j * np.pi * bins * np.arange(WINDOW_SAMPLES)[None] / 512)).sum(1)
    slow = np.log(np.abs(spectrum) ** 2 @ mel_filters().astype(np.float64) + 1e-9)
    np.testing.assert_allclose(log_mel(pcm)[frame], np.clip(slow, LOG_FLOOR, LOG_CEIL), atol=1e-3)


@given(st.integers(0, 10_000), st.integers(1, 12), st.integers(1, 12))
def test_log_mel_streamed_equals_whole(seed: int, first: int, second: int) -> None:
    pcm = np.random.default_rng(seed).normal(0, 0.1, (first + second) * HOP_SAMPLES).astype(np.float32)
    cut = first * HOP_SAMPLES
    history = np.concatenate([np.zeros(HISTORY_SAMPLES, np.float32), pcm[:cut]])[-HISTORY_SAMPLES:]
    streamed = np.concatenate([log_mel(pcm[:cut]), log_mel(pcm[cut:], history)])
    np.testing.assert_allclose(streamed, log_mel(pcm), atol=1e-4)


def test_a_tone_lies_in_its_band() -> None:
    seconds = np.arange(4800) / 16_000
    for hz in (200.0, 1000.0, 4000.0):
        mel = log_mel((0.5 * np.sin(2 * np.pi * hz * seconds)).astype(np.float32))[-1]
        centre_bin = round(hz * 512 / 16_000)
        assert abs(int(mel.argmax()) - int(mel_filters()[centre_bin].argmax())) <= 1
        assert mel.max() == pytest.approx(math.log(0.25), abs=0.8)


def test_levels_are_even_steps_and_clip() -> None:
    values = np.array([-99.0, -18.0, -17.01, -16.99, -2.01, 5.0], np.float32)
    assert dmel_levels(values).tolist() == [0, 0, 0, 1, 15, 15]


def test_normalised_mel_and_back() -> None:
    mel = np.linspace(LOG_FLOOR, LOG_CEIL, 33, dtype=np.float32)
    assert normalise_mel(mel).min() == -2.0 and normalise_mel(mel).max() == 2.0
    np.testing.assert_allclose(denormalise_mel(normalise_mel(mel)), mel, atol=1e-5)


def test_ear_is_a_bag_of_embeddings() -> None:
    """Before it is mixed with its neighbours, a token is a sum of one embedding for every (frame, band, level)."""
    torch.manual_seed(0)
    ear = Ear(CONFIG)
    levels = torch.randint(0, 16, (3, 30, MEL_BANDS), dtype=torch.uint8)
    weight = ear.bag.weight.view(CONFIG.backbone.width, 5, MEL_BANDS, -1)
    table = torch.einsum("dfmr,lr->fmld", weight, ear.level_LR)
    slow = torch.stack(
        [
            ear.bag.bias + sum(table[f, m, int(levels[n, 10 + f, m])] for f in range(5) for m in range(MEL_BANDS))
            for n in range(3)
        ]
    )
    torch.testing.assert_close(ear(levels)[:, 0], slow, atol=1e-4, rtol=1e-4)
    assert ear.own_voice(levels[:, :20]).shape == (3, CONFIG.backbone.width)


def test_ear_mixes_a_token_with_the_two_before_it() -> None:
    """A changed frame changes its own token and the next two, across the turn's edge, and nothing else."""
    torch.manual_seed(0)
    ear = Ear(CONFIG)
    torch.nn.init.normal_(ear.mixed.weight)
    levels = torch.randint(0, 8, (2, 2 * 20, MEL_BANDS), dtype=torch.uint8)
    levels[1] = levels[0]
    levels[1, 17] += 5  # the last token of the first turn

    def tokens(row: int) -> Tensor:
        first, second = levels[row, :20].numpy(), levels[row, 20:].numpy()
        turns = np.stack([with_context(None, first), with_context(first, second)])
        embedded: Tensor = ear(torch.from_numpy(turns))
        return embedded.flatten(0, 1)

    changed = (tokens(0) - tokens(1)).abs().amax(1) > 1e-6
    assert changed.tolist() == [False, False, False, True, True, True, False, False]


def test_patches_are_read_row_by_row() -> None:
    frame = np.zeros((80, 80, 3), np.uint8)
    frame[:40, 40:] = (255, 0, 0)
    frame[40:, :40] = (0, 255, 0)
    patches = frame_to_patches(frame, 2)
    assert patches.shape == (4, PATCH_PIXELS, PATCH_PIXELS, 3)
    assert patches.mean((1, 2)).tolist() == [[0, 0, 0], [255, 0, 0], [0, 255, 0], [0, 0, 0]]


@given(st.integers(1, 400), st.integers(1, 400))
def test_any_frame_size_becomes_the_grid(height: int, width: int) -> None:
    frame = np.full((height, width, 3), 200, np.uint8)
    patches = frame_to_patches(frame, 2)
    assert patches.shape == (4, 40, 40, 3)
    assert patches.max() == 200  # the picture is there, the rest is black


def test_eye_against_a_loop_over_windows() -> None:
    torch.manual_seed(0)
    eye = Eye(CONFIG)
    patch = torch.randint(0, 256, (1, 40, 40, 6), dtype=torch.uint8)
    picture, before = patch[0].float().chunk(2, dim=-1)
    pixels = torch.cat([picture / 127.5 - 1, (picture - before) / 127.5], -1)

    def stage(x: Tensor, side: int, linear: torch.nn.Module) -> Tensor:
        count = x.shape[0] // side
        cells = [
            [linear(x[side * i : side * (i + 1), side * j : side * (j + 1)].reshape(-1)) for j in range(count)]
            for i in range(count)
        ]
        return torch.stack([torch.stack(row) for row in cells])

    gelu = torch.nn.functional.gelu
    x = gelu(eye.fine_norm(stage(pixels, 4, eye.fine)))
    x = gelu(eye.middle_norm(stage(x, 2, eye.middle)))
    slow = eye.coarse_norm(stage(x, 5, eye.coarse)[0, 0]) + eye.place.weight[3]
    torch.testing.assert_close(eye(patch, torch.tensor([3]))[0], slow, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("top_k", [1, 2])
def test_experts_against_a_dense_loop(top_k: int) -> None:
    """Every expert on every token, then the chosen ones are added with their gates."""
    torch.manual_seed(0)
    backbone = CONFIG.backbone
    config = type(backbone)(**{**vars(backbone), "top_k": top_k})
    experts = MixtureOfExperts(config).eval()
    experts.balance_bias_X.copy_(torch.tensor([0.3, -0.2, 0.0, 0.1]))
    x = torch.randn(13, config.width)
    affinity = torch.sigmoid(experts.router(x))
    order = (affinity + experts.balance_bias_X).argsort(-1, descending=True)[:, :top_k]
    slow = experts.shared(x)
    for token in range(len(x)):
        gates = affinity[token, order[token]]
        gates = gates / gates.sum() if top_k > 1 else gates
        for gate, index in zip(gates, order[token].tolist(), strict=True):
            slow[token] += gate * experts.experts[index](x[token])
    torch.testing.assert_close(experts(x), slow, atol=1e-5, rtol=1e-4)


def test_balance_moves_load_towards_idle_experts() -> None:
    torch.manual_seed(0)
    experts = MixtureOfExperts(CONFIG.backbone).train()
    x = torch.randn(256, CONFIG.backbone.width) + 0.5
    experts(x)
    before = experts.load_X.clone()
    for _ in range(300):
        experts.balance(0.01)
        experts(x)
    assert experts.load_X.max() < before.max()
    assert experts.load_X.std() < before.std()


class _KnownField(FlowHead):
    """A flow head whose velocity is the exact field from noise to one fixed target."""

    def __init__(self, target: Tensor) -> None:
        super().__init__(CONFIG)
        self.target = target

    def velocity(self, noisy_SFM: Tensor, time_S: Tensor, given_SC: Tensor, guess: object, last_SFM: Tensor) -> Tensor:
        return (self.target - noisy_SFM) / (1 - time_S[:, None, None])


def test_sampler_integrates_a_known_field() -> None:
    """Along straight paths Euler is exact: it must arrive at the target from any noise."""
    torch.manual_seed(0)
    target = torch.randn(2, 20, MEL_BANDS)
    head = _KnownField(target)
    hidden = torch.randn(2, CONDITION_PARTS * CONFIG.backbone.width)
    result = head.sample(hidden, torch.zeros(2, 20, MEL_BANDS), torch.randn(2, 20, MEL_BANDS))
    torch.testing.assert_close(result, target, atol=1e-4, rtol=1e-4)


def test_flow_head_learns_two_targets() -> None:
    """A few steps on two hidden states with a target each: sampling tells them apart."""
    torch.manual_seed(0)
    head = FlowHead(CONFIG)
    hidden = torch.randn(2, CONDITION_PARTS * CONFIG.backbone.width)
    target = torch.stack([torch.full((20, MEL_BANDS), -1.0), torch.full((20, MEL_BANDS), 1.0)])
    last = torch.full_like(target, -2.0)
    optimiser = torch.optim.AdamW(head.parameters(), 3e-3)
    for _ in range(120):
        hidden_batch, target_batch, last_batch = (x.repeat(8, *[1] * (x.ndim - 1)) for x in (hidden, target, last))
        guess = head.guess(hidden_batch)
        noise = torch.randn_like(target_batch)
        velocity = head.velocity_loss(hidden_batch, guess, last_batch, target_batch, noise, torch.rand(16))
        optimiser.zero_grad()
        torch.autograd.backward(velocity + F.l1_loss(guess[0], target_batch))
        optimiser.step()
    result = head.sample(hidden, last, torch.randn(2, 20, MEL_BANDS))
    assert (result - target).abs().mean() < 0.25


def test_rotation_depends_on_distance_alone() -> None:
    torch.manual_seed(0)
    frequency = frequencies(24, 4.0, 1600.0)
    query, key = torch.randn(1, 1, 1, 24), torch.randn(1, 1, 1, 24)

    def score(query_turn: int, key_turn: int) -> float:
        turned = rotate(query, Rotation.by((query_turn * frequency).view(1, 1, -1)))
        return float((turned * rotate(key, Rotation.by((key_turn * frequency).view(1, 1, -1)))).sum())

    assert score(9, 4) == pytest.approx(score(105, 100), abs=1e-3)
    assert score(9, 4) != pytest.approx(score(9, 5), abs=1e-2)
