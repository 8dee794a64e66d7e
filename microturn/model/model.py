"""The whole network: everything that comes in is embedded into one sequence, and read out by lanes and flow head."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from microturn.model.backbone import Backbone, Tokens, Window
from microturn.model.config import ModelConfig
from microturn.model.ear import Ear
from microturn.model.eye import Eye
from microturn.model.flow import FlowHead
from microturn.model.layout import MAX_AGE, MAX_REPLY, NUM_ENDS, NUM_KINDS, Kind
from microturn.model.letters import NUM_LETTERS, Letters
from microturn.model.sequence import NONE, Sequence
from microturn.model.state import NO_WORD, BackboneState
from microturn.model.tokens import ACTS, OutputVocabulary
from microturn.turn import TextSource

# Shapes: B rows, T tokens, D width, V text tokens, O output ids.


class Embedder(nn.Module):
    """Tokens of all kinds to vectors.

    Every token also carries the last word heard and the last word said before it. To repeat or to follow a rule, the
    network looks for what came after a word; with this it takes one layer of attention in place of two (a text token
    knows its predecessor, which induction heads otherwise have to find: Olsson et al. 2022). And it carries its place
    in the model's reply, as a decoder's tokens do: a turn says little of that; and how long its newest word has lasted,
    for that and the word are what the turn sounds like.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width = config.backbone.width
        self.vocab_size = config.vocab_size
        self.text = nn.Embedding(config.vocab_size, width)
        self.letters = Letters(config.vocab_size, width)
        self.kind = nn.Embedding(NUM_KINDS, width)
        self.end = nn.Embedding(NUM_ENDS, width)
        self.act = nn.Embedding(len(ACTS), width)
        self.source = nn.Embedding(len(TextSource), width)
        self.heard = nn.Linear(width, width, bias=False)
        self.said = nn.Linear(width, width, bias=False)
        self.reply = nn.Embedding(1 + MAX_REPLY, width)
        self.age = nn.Embedding(1 + MAX_AGE, width)
        self.ear = Ear(config)
        self.eye = Eye(config)
        for table in (self.text, self.kind, self.end, self.act, self.source, self.reply, self.age):
            nn.init.normal_(table.weight, std=0.5 if table is self.text else 0.1)
        for before in (self.heard, self.said):
            nn.init.zeros_(before.weight)

    @property
    def table_VD(self) -> Tensor:
        """The embeddings of the text tokens."""
        return self.text.weight + self.letters() if self.letters.known else self.text.weight

    def forward(self, sequence: Sequence) -> Tensor:
        table_VD = self.table_VD
        kind, payload = sequence.kind_BT.flatten(), sequence.payload_BT.flatten()
        valid = sequence.valid_BT.flatten()
        x = self.kind(kind) + self.reply(sequence.reply_BT.flatten()) + self.age(sequence.age_BT.flatten())
        for project, before in ((self.heard, sequence.heard_BT), (self.said, sequence.said_BT)):
            is_there = (before.flatten() != NONE).unsqueeze(1)
            x = x + project(F.embedding(before.flatten().clamp(min=0) % self.vocab_size, table_VD) * is_there)

        def put(x: Tensor, where: Tensor, values: Tensor) -> Tensor:
            return x.index_add(0, where.nonzero().squeeze(1), values.to(x.dtype))

        text = valid & ((kind == Kind.HEAR) | (kind == Kind.SAY) | (kind == Kind.TEXT_IN))
        x = put(x, text, F.embedding(payload[text] % self.vocab_size, table_VD))
        typed = valid & (kind == Kind.TEXT_IN)
        x = put(x, typed, self.source(payload[typed] // self.vocab_size))
        end = valid & (kind == Kind.END)
        x = put(x, end, self.end(payload[end]))
        act = valid & (kind == Kind.ACT)
        x = put(x, act, self.act(payload[act]))
        x = put(x, valid & (kind == Kind.AUDIO), self.ear(sequence.audio_NFM).flatten(0, 1))
        x = put(x, valid & (kind == Kind.OWN), self.ear.own_voice(sequence.own_NFM))
        patch = valid & (kind == Kind.PATCH)
        x = put(x, patch, self.eye(sequence.patch_NPPC, payload[patch]))
        embedded: Tensor = x.view(*sequence.kind_BT.shape, -1)
        return embedded


class LaneHead(nn.Module):
    """Hidden states to scores over the output ids of ``OutputVocabulary``; text tokens share the input's table."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width = config.backbone.width
        self.hear = nn.Linear(width, width, bias=False)
        self.say = nn.Linear(width, width, bias=False)
        self.control = nn.Linear(width, len(ACTS) + 2)
        self.hear_bias = nn.Parameter(torch.zeros(config.vocab_size))
        self.say_bias = nn.Parameter(torch.zeros(config.vocab_size))
        self.scale = width**-0.5

    def forward(self, hidden_ND: Tensor, text_VD: Tensor) -> Tensor:
        """(N, D) -> (N, O)."""
        hear = (self.hear(hidden_ND) @ text_VD.T) * self.scale + self.hear_bias
        say = (self.say(hidden_ND) @ text_VD.T) * self.scale + self.say_bias
        return torch.cat([hear, say, self.control(hidden_ND)], -1)


def tokens_of(sequence: Sequence, vocab_size: int) -> Tokens:
    def word(payload_BT: Tensor) -> Tensor:
        """Typed and spoken words are the same words."""
        return torch.where(payload_BT == NONE, NO_WORD, payload_BT % vocab_size)

    return Tokens(
        turn_BQ=sequence.turn_BT,
        offset_BQ=sequence.offset_BT,
        slot_BQ=sequence.slot_BT,
        word_BQ=word(sequence.word_BT),
        newest_BQ=word(sequence.newest_BT),
        before_BQ=word(sequence.before_BT),
        newest_said_BQ=word(sequence.newest_said_BT),
        is_text_BQ=sequence.is_text_BT,
        valid_BQ=sequence.valid_BT,
    )


NUM_PHASES = 6
"""At rest, four quarters of a repetition, its end."""


class Network(nn.Module):
    """All parameters but the vocoder's."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.outputs = OutputVocabulary(config.vocab_size)
        self.embedder = Embedder(config)
        self.backbone = Backbone(config)
        self.lanes = LaneHead(config)
        self.flow = FlowHead(config)
        self.spelling = nn.Linear(config.backbone.width, 1 + NUM_LETTERS)
        """Only for training: scores of blank and letters at every audio token, read after the listening layers
        (``train.listen``)."""

        self.phases = nn.Linear(config.backbone.width, NUM_PHASES)
        """Only for training: scores of how far a repetition is, read after the listening layers (``train.watch``)."""

    @property
    def default_window(self) -> Window:
        return Window(self.config.memory.window_turns, self.config.memory.text_tokens)

    def forward(self, sequence: Sequence, window: Window | None = None, state: BackboneState | None = None) -> Tensor:
        """Hidden states (B, T, D): of whole sessions, or of one turn's tokens on top of ``state``."""
        window = window or self.default_window
        hidden: Tensor = self.backbone(
            self.embedder(sequence), tokens_of(sequence, self.config.vocab_size), window, state
        )
        return hidden

    def listen(self, sequence: Sequence, window: Window | None = None) -> Tensor:
        """Hidden states (B, T, D) of whole rows after the listening layers alone."""
        listened: Tensor = self.backbone.listen(
            self.embedder(sequence), tokens_of(sequence, self.config.vocab_size), window or self.default_window
        )
        return listened

    @torch.no_grad()
    def fold_letters(self) -> None:
        """Put the letters' part of the embeddings into their table: same function, no letters any more."""
        assert self.embedder.letters.known
        self.embedder.text.weight.copy_(self.embedder.table_VD)
        self.embedder.letters.each.weight.zero_()

    def lane_scores(self, hidden_ND: Tensor) -> Tensor:
        """Scores (N, O) over what may come next at the positions that predict an output token."""
        scores: Tensor = self.lanes(hidden_ND, self.embedder.table_VD)
        return scores

    def voice(self, hidden_SD: Tensor, said_S: Tensor, age_S: Tensor) -> Tensor:
        """What the flow head needs to make the sound of turns, (S, C): the hidden states that predicted <speak>, the
        newest words said by then (text tokens, or ``NONE``) and for how many turns (see ``Sequence.age_BT``)."""
        word_SD = F.embedding(said_S.clamp(min=0), self.embedder.table_VD) * (said_S != NONE).unsqueeze(1)
        return torch.cat([hidden_SD, word_SD, self.embedder.age(age_S)], -1)

    def num_parameters(self) -> tuple[int, int]:
        """(all, active for one token): routed experts beyond ``top_k`` do not run."""
        total = sum(parameter.numel() for parameter in self.parameters())
        b = self.config.backbone
        idle = b.num_layers * (b.num_experts - b.top_k) * 3 * b.width * b.expert_width
        return total, total - idle
