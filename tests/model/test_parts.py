"""The parts of the network against slow references: norm, ear, eye, experts, flow head, rotary positions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from microturn.media.mel import LEVELS, MEL_BANDS, TURN_FRAMES
from microturn.model.config import ModelConfig
from microturn.model.ear import AUDIO_TOKENS, CONTEXT_FRAMES, TOKEN_FRAMES, Ear, to_values
from microturn.model.eye import Eye, frame_to_patches
from microturn.model.flow import Condition, FlowHead
from microturn.model.lanes import NONE
from microturn.model.linear import RMSNorm
from microturn.model.moe import MixtureOfExperts
from microturn.model.rotary import Rotation, frequencies, partners, rotate
from microturn.model.spelling import FIRST_LETTER, NUM_LETTERS
from microturn.model.turns import LIKENESS_SIZE, PATCH_PIXELS

CONFIG = ModelConfig.of_size(1, vocab_size=50)


def test_rms_norm_against_its_definition() -> None:
    torch.manual_seed(0)
    norm = RMSNorm(48)
    nn.init.normal_(norm.weight)
    x = torch.randn(3, 5, 48) * 7
    torch.testing.assert_close(norm(x), F.rms_norm(x, (48,), norm.weight, 1e-6))
    assert torch.isfinite(norm(torch.zeros(2, 48))).all()


def test_ear_against_a_loop_over_windows() -> None:
    torch.manual_seed(0)
    ear = Ear(64, 16)
    levels = torch.randint(0, LEVELS, (1, CONTEXT_FRAMES + TURN_FRAMES, MEL_BANDS), dtype=torch.uint8)
    x = to_values(levels)

    def convolution(x_CTM: Tensor, layer: nn.Conv2d, step_frames: int) -> Tensor:
        """Every place by itself; two bands are left out from one place to the next."""
        _, _, height, width = layer.weight.shape
        assert layer.bias is not None
        padded = F.pad(x_CTM, (width // 2, width // 2))
        rows = []
        for frame in range(0, x_CTM.shape[1] - height + 1, step_frames):
            windows = [padded[:, frame : frame + height, band : band + width] for band in range(0, x_CTM.shape[2], 2)]
            rows.append(torch.stack([(layer.weight * window).sum((1, 2, 3)) + layer.bias for window in windows], -1))
        return F.gelu(torch.stack(rows, 1))

    first = convolution(x, ear.first, 2)
    second = convolution(first, ear.second, 1)
    steps = second.shape[1] // AUDIO_TOKENS
    tokens = [second[:, token * steps : (token + 1) * steps].transpose(0, 1).flatten() for token in range(AUDIO_TOKENS)]
    slow = torch.stack([ear.norm(ear.out.weight @ token + ear.out.bias) for token in tokens])
    torch.testing.assert_close(ear(levels)[0], slow, atol=1e-4, rtol=1e-4)


@given(st.integers(0, 2 * TURN_FRAMES - 1))
def test_a_frame_is_heard_by_its_own_token_and_the_next(frame: int) -> None:
    torch.manual_seed(0)
    ear = Ear(64, 16)
    levels = torch.randint(0, 8, (2, CONTEXT_FRAMES + 2 * TURN_FRAMES, MEL_BANDS), dtype=torch.uint8)
    levels[1] = levels[0]
    levels[1, CONTEXT_FRAMES + frame] += 5
    one, other = ear(levels)
    own = frame // TOKEN_FRAMES
    reached = {own, own + 1} if frame % TOKEN_FRAMES >= TOKEN_FRAMES - CONTEXT_FRAMES else {own}
    changed = torch.nonzero((one - other).abs().amax(1) > 1e-6).flatten().tolist()
    assert set(changed) == reached & set(range(2 * AUDIO_TOKENS))


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
    alike = torch.randn(1, LIKENESS_SIZE)
    torch.nn.init.normal_(eye.likeness_out.weight)
    slow = slow + eye.likeness_out(gelu(eye.likeness(alike)))[0]
    torch.testing.assert_close(eye(patch, alike, torch.tensor([3]))[0], slow, atol=1e-4, rtol=1e-4)


def moved_experts(top_k: int = 1, num_experts: int = 4) -> MixtureOfExperts:
    """Experts whose outputs are not zero, and whose choice is not the affinities' alone."""
    torch.manual_seed(0)
    experts = MixtureOfExperts(replace(CONFIG.backbone, num_experts=num_experts, top_k=top_k)).eval()
    for weight in (experts.out, experts.shared.out.weight):
        nn.init.normal_(weight, std=0.2)
    experts.balance_bias_X.copy_(torch.tensor([0.3, -0.2, 0.0, 0.1])[:num_experts])
    return experts


def slow_experts(experts: MixtureOfExperts, x_ND: Tensor) -> Tensor:
    """Token by token: the shared expert, and the chosen ones with their gates."""
    affinity = torch.sigmoid(F.linear(x_ND, experts.router.weight))
    order = (affinity + experts.balance_bias_X).argsort(-1, descending=True)[:, : experts.top_k]
    rows = []
    for token, x in enumerate(x_ND):
        gates = affinity[token, order[token]]
        gates = gates / gates.sum() if experts.top_k > 1 else gates
        gates = torch.ones_like(gates) if experts.num_experts == 1 else gates
        row = experts.shared(x)
        for gate, index in zip(gates, order[token].tolist(), strict=True):
            opened, up = (x @ experts.gate_up[index]).chunk(2)
            row = row + gate * ((F.silu(opened) * up) @ experts.out[index])
        rows.append(row)
    return torch.stack(rows)


@pytest.mark.parametrize("num_tokens", [1, 13, 64, 200])
@pytest.mark.parametrize(("num_experts", "top_k"), [(4, 1), (4, 2), (1, 1)])
def test_experts_against_a_loop_over_tokens(num_experts: int, top_k: int, num_tokens: int) -> None:
    experts = moved_experts(top_k, num_experts)
    x = torch.randn(num_tokens, CONFIG.backbone.width)
    with torch.no_grad():
        torch.testing.assert_close(experts(x), slow_experts(experts, x), atol=1e-5, rtol=1e-4)


def test_experts_say_in_training_what_they_say_in_use() -> None:
    """Numbers and gradients."""
    experts = moved_experts()
    x = torch.randn(13, CONFIG.backbone.width)
    results, gradients = [], []
    for mode in (experts.train(), experts.eval()):
        given_x = x.clone().requires_grad_()
        results.append(mode(given_x))
        torch.autograd.backward(results[-1].square().sum())
        assert given_x.grad is not None
        gradients.append(given_x.grad)
    torch.testing.assert_close(*results)
    torch.testing.assert_close(*gradients)


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

    def velocity(self, noisy_SFM: Tensor, time_S: Tensor, given: Condition, last_SFM: Tensor) -> Tensor:
        return (self.target - noisy_SFM) / (1 - time_S[:, None, None])


def some_words(head: FlowHead, num_turns: int) -> Condition:
    """Conditions of different words, a token each."""
    head.letters_VL.copy_(torch.randint(FIRST_LETTER, NUM_LETTERS, head.letters_VL.shape))
    said = torch.full((num_turns, 8), NONE)
    said[:, 0] = torch.arange(num_turns) % CONFIG.vocab_size
    with torch.no_grad():
        return head.condition(said, torch.ones_like(said))


def test_sampler_integrates_a_known_field() -> None:
    """Along straight paths Euler is exact: it must arrive at the target from any noise."""
    torch.manual_seed(0)
    target = torch.randn(2, TURN_FRAMES, MEL_BANDS)
    head = _KnownField(target)
    noise = torch.randn(2, TURN_FRAMES, MEL_BANDS)
    result = head.sample(some_words(head, 2), torch.zeros_like(noise), noise)
    torch.testing.assert_close(result, target, atol=1e-4, rtol=1e-4)


def test_flow_head_learns_two_targets() -> None:
    """A few steps on two words with a target each: sampling tells them apart."""
    torch.manual_seed(0)
    head = FlowHead(CONFIG)
    some_words(head, 2)
    said = torch.tensor([[0], [1]])
    target = torch.stack([torch.full((TURN_FRAMES, MEL_BANDS), -1.0), torch.full((TURN_FRAMES, MEL_BANDS), 1.0)])
    last = torch.full_like(target, -2.0)
    optimiser = torch.optim.AdamW(head.parameters(), 3e-3)
    for _ in range(120):
        said_batch, target_batch, last_batch = (x.repeat(8, *[1] * (x.ndim - 1)) for x in (said, target, last))
        condition = head.condition(said_batch, torch.ones_like(said_batch))
        noise = torch.randn_like(target_batch)
        velocity = head.velocity_loss(condition, last_batch, target_batch, noise, torch.rand(16))
        optimiser.zero_grad()
        torch.autograd.backward(velocity + F.l1_loss(condition.coarse_SFM, target_batch))
        optimiser.step()
    given_words = head.condition(said, torch.ones_like(said))
    result = head.sample(given_words, last, torch.randn(2, TURN_FRAMES, MEL_BANDS))
    assert (result - target).abs().mean() < 0.25


@given(st.integers(0, 10_000), st.integers(-200, 200), st.integers(1, 50_000))
def test_rotation_depends_on_distance_alone(turn: int, distance: int, later: int) -> None:
    torch.manual_seed(0)
    frequency, partner = frequencies(24, 4.0, 1600.0), partners(24, rest=8)
    query, key = torch.randn(1, 1, 1, 32), torch.randn(1, 1, 1, 32)

    def turned(x: Tensor, turn: int) -> Tensor:
        angle = turn * frequency.double().view(1, 1, -1)
        return rotate(x, Rotation.by(angle, rest=8), partner)

    def score(query_turn: int, key_turn: int) -> float:
        return float((turned(query, query_turn) * turned(key, key_turn)).sum())

    assert score(turn, turn - distance) == pytest.approx(score(turn + later, turn + later - distance), abs=1e-3)
    assert torch.equal(turned(query, turn)[..., 24:], query[..., 24:]), "the rest does not rotate"
    assert float(turned(query, turn).norm()) == pytest.approx(float(query.norm()), rel=1e-5)


def test_rotation_tells_distances_apart() -> None:
    torch.manual_seed(0)
    frequency, partner = frequencies(24, 4.0, 1600.0), partners(24)
    query, key = torch.randn(1, 1, 1, 24), torch.randn(1, 1, 1, 24)
    scores = [
        float((rotate(query, Rotation.by((turn * frequency).view(1, 1, -1)), partner) * key).sum()) for turn in range(9)
    ]
    assert len({round(score, 3) for score in scores}) == len(scores)
