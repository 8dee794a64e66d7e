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
from microturn.model.linear import Linear, SwiGLU

# Shapes: N tokens, D width, X experts, K experts chosen for a token, A = N * K.


class MixtureOfExperts(nn.Module):
    """(N, D) -> (N, D). ``load_X`` counts the tokens that each expert got since ``balance`` was last called."""

    balance_bias_X: Tensor
    load_X: Tensor

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        self.num_experts, self.top_k = config.num_experts, config.top_k
        width, inner = config.width, config.expert_width
        self.shared = SwiGLU(width, config.shared_width)
        self.gate_up = nn.Parameter(torch.randn(config.num_experts, width, 2 * inner) * width**-0.5)
        self.out = nn.Parameter(torch.zeros(config.num_experts, inner, width))
        self.router = Linear(width, config.num_experts, bias=False)
        self.register_buffer("balance_bias_X", torch.zeros(config.num_experts))
        self.register_buffer("load_X", torch.zeros(config.num_experts), persistent=False)

    def choose(self, x_ND: Tensor) -> tuple[Tensor, Tensor]:
        """Chosen experts and their gate weights, both (N, K)."""
        affinity_NX = torch.sigmoid(self.router(x_ND).float())
        chosen_NK = (affinity_NX + self.balance_bias_X).topk(self.top_k, dim=-1).indices
        gate_NK = affinity_NX.gather(1, chosen_NK)
        if self.top_k > 1:
            gate_NK = gate_NK / gate_NK.sum(-1, keepdim=True)
        if self.num_experts == 1:
            gate_NK = torch.ones_like(gate_NK)
        return chosen_NK, gate_NK

    def forward(self, x_ND: Tensor) -> Tensor:
        result_ND: Tensor = self.shared(x_ND)
        chosen_NK, gate_NK = self.choose(x_ND)
        if self.training:
            self.load_X += F.one_hot(chosen_NK, self.num_experts).sum((0, 1)).to(self.load_X.dtype)
        return result_ND + self._routed(x_ND, chosen_NK, gate_NK).to(result_ND.dtype)

    def _routed(self, x_ND: Tensor, chosen_NK: Tensor, gate_NK: Tensor) -> Tensor:
        """Every token through its own experts only: tokens side by side by expert, products of groups."""
        expert_A = chosen_NK.flatten()
        order_A = expert_A.argsort(stable=True)
        ends_X = F.one_hot(expert_A, self.num_experts).sum(0).cumsum(0).to(torch.int32)
        token_A = order_A // self.top_k
        gate, up = F.grouped_mm(x_ND[token_A], self.gate_up.to(x_ND.dtype), offs=ends_X).chunk(2, dim=-1)
        each_AD = F.grouped_mm(F.silu(gate) * up, self.out.to(x_ND.dtype), offs=ends_X)
        weighted_AD = each_AD.float() * gate_NK.flatten()[order_A].unsqueeze(-1)
        return weighted_AD.new_zeros(x_ND.shape).index_add(0, token_A, weighted_AD)

    @torch.no_grad()
    def balance(self, speed: float) -> None:
        """Move each expert's bias against its load (DeepSeek-V3, "auxiliary-loss-free load balancing")."""
        if self.num_experts > 1:
            self.balance_bias_X += speed * torch.sign(self.load_X.mean() - self.load_X)
            self.load_X.zero_()
