"""Mixture-of-experts feed-forward: a shared expert for every token and the best ``top_k`` of the routed ones.

Conventions of DeepSeek-V3 (2024, section 2.1.2): sigmoid affinities, the gate weights are the chosen affinities
normalised to sum to one, and load is balanced without an auxiliary loss by a per-expert bias that takes part in the
choice but not in the weight. One routed expert is the dense special case.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from microturn.model.config import BackboneConfig

# Shapes: N tokens, D width, X experts, K experts chosen for a token, I inner width.


class SwiGLU(nn.Module):
    """``w_out(silu(w_gate(x)) * w_up(x))`` (Shazeer 2020); (..., D) -> (..., D)."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.gate_up = nn.Linear(width, 2 * inner, bias=False)
        self.out = nn.Linear(inner, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gate, up = self.gate_up(x).chunk(2, dim=-1)
        result: Tensor = self.out(F.silu(gate) * up)
        return result


class MixtureOfExperts(nn.Module):
    """(N, D) -> (N, D). ``load_X`` counts the tokens that each expert got since ``balance`` was last called."""

    balance_bias_X: Tensor
    load_X: Tensor

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        self.num_experts, self.top_k = config.num_experts, config.top_k
        self.shared = SwiGLU(config.width, config.shared_width)
        self.experts = nn.ModuleList(SwiGLU(config.width, config.expert_width) for _ in range(config.num_experts))
        self.router = nn.Linear(config.width, config.num_experts, bias=False)
        self.register_buffer("balance_bias_X", torch.zeros(config.num_experts))
        self.register_buffer("load_X", torch.zeros(config.num_experts), persistent=False)

    def choose(self, x_ND: Tensor) -> tuple[Tensor, Tensor]:
        """Chosen experts and their gate weights, both (N, K)."""
        affinity_NX = torch.sigmoid(self.router(x_ND).float())
        chosen_NK = (affinity_NX + self.balance_bias_X).topk(self.top_k, dim=-1).indices
        gate_NK = affinity_NX.gather(1, chosen_NK)
        if self.top_k > 1:
            gate_NK = gate_NK / gate_NK.sum(-1, keepdim=True)
        return chosen_NK, gate_NK

    def forward(self, x_ND: Tensor) -> Tensor:
        result_ND: Tensor = self.shared(x_ND)
        if self.num_experts == 1:
            result_ND = result_ND + self.experts[0](x_ND)
            return result_ND
        chosen_NK, gate_NK = self.choose(x_ND)
        if self.training:
            self.load_X += torch.bincount(chosen_NK.flatten(), minlength=self.num_experts).to(self.load_X.dtype)
        routed_ND = torch.zeros_like(x_ND)
        for index, expert in enumerate(self.experts):
            token, rank = torch.where(chosen_NK == index)
            if token.numel():
                weighted = expert(x_ND[token]) * gate_NK[token, rank].unsqueeze(-1).to(x_ND.dtype)
                routed_ND = routed_ND.index_add(0, token, weighted)
        return result_ND + routed_ND

    @torch.no_grad()
    def balance(self, speed: float) -> None:
        """Move each expert's bias against its load (DeepSeek-V3, "auxiliary-loss-free load balancing")."""
        if self.num_experts > 1:
            self.balance_bias_X += speed * torch.sign(self.load_X.mean() - self.load_X)
            self.load_X.zero_()
