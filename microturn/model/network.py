"""The whole network: sound goes through the hearing stack, all else through the backbone; words and sound come out."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from microturn.language.tokenizer import TextTokenizer
from microturn.model.backbone import Backbone
from microturn.model.config import ModelConfig
from microturn.model.ear import AUDIO_TOKENS
from microturn.model.eye import Eye
from microturn.model.flow import FlowHead
from microturn.model.hearing import Hearing
from microturn.model.lanes import MAX_AGE, NONE, USER_TOKENS, Lanes, LaneState
from microturn.model.linear import Linear, linear
from microturn.model.outputs import OutputVocabulary
from microturn.model.pointing import END, letters_at, letters_said, next_read
from microturn.model.spelling import ALPHABET, FIRST_LETTER, LATIN_LETTERS, NOTHING, NUM_LETTERS, renamed, spelt
from microturn.model.turns import End, Kind, Sound, Source, Turns
from microturn.turn import Act

# Shapes: B rows, T tokens, U turns, S speaking turns, D width, V text tokens, K words of a lane, P
# pointers, O outputs.


class Embedder(nn.Module):
    """Tokens of all kinds to vectors: what they carry, of which kind and from whom, and the words before them."""

    first_payload: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width, words = config.backbone.width, config.backbone.lane_words
        self.lane_words = words
        self.vocab_size = config.vocab_size
        sizes = {Kind.NOW: len(End), Kind.PATCH: config.num_patches, Kind.ACT: len(Act)}
        first = {kind: config.vocab_size + sum(list(sizes.values())[:place]) for place, kind in enumerate(sizes)}
        self.register_buffer("first_payload", torch.tensor([first.get(kind, 0) for kind in Kind]), persistent=False)
        self.payload = nn.Embedding(config.vocab_size + sum(sizes.values()), width)
        self.kind = nn.Embedding(len(Kind), width)
        self.source = nn.Embedding(len(Source), width)
        self.age = nn.Embedding(1 + MAX_AGE, width)
        self.sound = nn.Embedding(len(Sound), width)
        self.user = Linear(words * width, width, bias=False)
        self.model = Linear(words * width, width, bias=False)
        self.heard = Linear(width, width, bias=False)
        self.eye = Eye(config)
        nn.init.normal_(self.payload.weight, std=0.5)
        for table in (self.kind, self.source, self.age, self.sound):
            nn.init.normal_(table.weight, std=0.1)
        nn.init.zeros_(self.heard.weight)

    def forward(self, turns: Turns, lanes: Lanes, heard_BUD: Tensor | None) -> Tensor:
        """(B, T, D). ``heard_BUD`` is the hearing stack's last state of every turn, if any was heard."""
        x: Tensor = self.payload(turns.payload_BT + self.first_payload[turns.kind_BT])
        x = x + self.kind(turns.kind_BT) + self.source(turns.source_BT) + self.age(lanes.age_BTK[..., 0])
        x = (
            x
            + self.user(self._words(lanes.user_BTK[..., : self.lane_words]))
            + self.model(self._words(lanes.model_BTK[..., : self.lane_words]))
        )
        x = x + self._now(turns, heard_BUD)
        if len(turns.patch_NPPC):
            place_N = turns.payload_BT.flatten()[turns.patch_at_N]
            seen = self.eye(turns.patch_NPPC, turns.likeness_NL, place_N)
            x = x.flatten(0, 1).index_add(0, turns.patch_at_N, seen.to(x.dtype)).view_as(x)
        return x

    def _words(self, words_BTK: Tensor) -> Tensor:
        known = (words_BTK != NONE).unsqueeze(-1)
        words: Tensor = self.payload(words_BTK.clamp(min=0)) * known
        return words.flatten(2)

    def _now(self, turns: Turns, heard_BUD: Tensor | None) -> Tensor:
        """What NOW tokens carry besides: what is heard, or why nothing is."""
        turn_BUD: Tensor = self.sound(turns.sound_BU)
        if heard_BUD is not None:
            turn_BUD = turn_BUD + self.heard(heard_BUD) * (turns.sound_BU != Sound.GAP).unsqueeze(-1)
        index = turns.unit_BT.unsqueeze(-1).expand(-1, -1, turn_BUD.shape[-1])
        is_now = ((turns.kind_BT == Kind.NOW) & turns.valid_BT).unsqueeze(-1)
        return turn_BUD.gather(1, index) * is_now


class SayHead(nn.Module):
    """What the model puts out next: a word to say, an act, <listen> or <speak>. Words are compared with embeddings.

    What ``pointing`` has found gains by as much as the state says; behind the last letter or word <listen> does.
    """

    output_of_letter: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width = config.backbone.width
        self.outputs = OutputVocabulary(config.vocab_size)
        self.word = Linear(width, width)
        self.bias_V = nn.Parameter(torch.zeros(config.vocab_size))
        self.rest = Linear(width, self.outputs.size - self.outputs.vocab_size)
        self.pointers_PD = nn.Parameter(torch.zeros(USER_TOKENS + 1, width))
        nothing = torch.full((NUM_LETTERS,), self.outputs.size, dtype=torch.int64)
        self.register_buffer("output_of_letter", nothing, persistent=False)

    def spell(self, tokenizer: TextTokenizer) -> None:
        """Take the tokens of single letters from the tokenizer."""
        self.output_of_letter[NOTHING] = self.outputs.listen
        for place, letter in enumerate(ALPHABET[:LATIN_LETTERS]):
            [self.output_of_letter[FIRST_LETTER + place]] = tokenizer.encode_word(letter)

    def forward(self, hidden_ND: Tensor, table_VD: Tensor, letter_NK: Tensor, read_N: Tensor) -> Tensor:
        """Scores (N, O). ``letter_NK`` is what comes next if one of the user's newest words is spelt, ``read_N`` if
        a text is read out."""
        query: Tensor = self.word(hidden_ND)
        words = linear(query, table_VD.to(query.dtype), self.bias_V)
        nowhere = torch.zeros_like(words[:, :1])
        scores = torch.cat([words, self.rest(hidden_ND), nowhere], -1)
        read_N = torch.where(read_N == END, self.outputs.listen, torch.where(read_N == NONE, self.outputs.size, read_N))
        output_NP = torch.cat([self.output_of_letter[letter_NK], read_N.unsqueeze(1)], 1)
        pointed_NP = linear(hidden_ND, self.pointers_PD, None).to(scores.dtype)
        for place in range(output_NP.shape[1]):  # one by one, so that the sum has the same order on every device
            scores.scatter_add_(1, output_NP[:, place : place + 1], pointed_NP[:, place : place + 1])
        return scores[:, :-1]


class Network(nn.Module):
    """Everything that is trained but the vocoder."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.hearing = Hearing(config.hearing, config.vocab_size)
        self.embedder = Embedder(config)
        self.backbone = Backbone(config)
        self.say = SayHead(config)
        self.flow = FlowHead(config)

    def spell(self, tokenizer: TextTokenizer) -> None:
        """Take the letters of the tokens from the tokenizer whose ids the lanes carry."""
        self.flow.letters_VL.copy_(spelt(tokenizer))
        self.say.spell(tokenizer)

    @property
    def table_VD(self) -> Tensor:
        """The embeddings of the text tokens."""
        return self.embedder.payload.weight[: self.config.vocab_size]

    def num_parameters(self) -> tuple[int, int]:
        """All parameters, and those that one token meets (experts that are not chosen left out)."""
        total = sum(parameter.numel() for parameter in self.parameters())
        backbone = self.config.backbone
        expert = 3 * backbone.width * backbone.expert_width
        idle = backbone.num_layers * (backbone.num_experts - backbone.top_k) * expert
        return total, total - idle

    def say_scores(self, hidden_ND: Tensor, known: LaneState, renamed_N: Tensor | None = None) -> Tensor:
        """Scores (N, O) of what comes next after the backbone's states and the words of all sides; letters that are
        spelt are moved on by ``renamed`` places."""
        table_VL = self.flow.letters_VL
        said_N = letters_said(table_VL, known.model_RK, known.num_said_R)
        letter_NK = letters_at(table_VL, known.user_RK, said_N)
        if renamed_N is not None:
            letter_NK = renamed(letter_NK, renamed_N.unsqueeze(1))
        said_RK, said_turn_RK = known.model_RK, known.said_turn_RK
        read_N = next_read(table_VL, known.read_RK, known.read_turn_RK, said_RK, said_turn_RK, known.num_said_R)
        scores: Tensor = self.say(hidden_ND, self.table_VD, letter_NK, read_N)
        return scores


def last_of_turn(hidden_BTD: Tensor) -> Tensor:
    """The hearing stack's states at the ends of turns, (B, U, D)."""
    return hidden_BTD[:, AUDIO_TOKENS - 1 :: AUDIO_TOKENS]
