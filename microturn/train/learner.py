"""The network and the vocoder with the heads that only training needs, and the losses of any batch."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from microturn.media.mel import mel_filters
from microturn.model.config import MemoryConfig, ModelConfig
from microturn.model.hearing import initial_hearing_state, turn_levels
from microturn.model.lanes import initial_lane_state, lanes
from microturn.model.linear import Linear
from microturn.model.network import Network, last_of_turn
from microturn.model.turns import Sound
from microturn.model.vocoder import Vocoder, VocoderConfig
from microturn.scenario.practice import NUM_PHASES
from microturn.train.batch import PHONES_PER_TOKEN, Batch, Head, MelTargets, Targets, WaveTargets
from microturn.train.once import WrittenOnce, written_once
from microturn.train.vocoder import vocoder_losses
from microturn.voices.phones import PHONES

# Shapes: B rows, T tokens, U turns, P targets, S speaking turns, N tokens of all rows, D width, O outputs of a head.

READ = frozenset({Head.SAY, Head.PHASES})
"""Heads that need the backbone."""
HEAD_WEIGHTS = {
    Head.WORDS: 3.0, Head.VOICE: 0.3, Head.PHONES: 0.5, Head.SAY: 1.0, Head.PHASES: 1.0, Head.GUESS: 1.0,
    Head.FLOW: 0.2, Head.SPECTRUM: 0.5, Head.MEL: 0.5, Head.NOISE: 0.06, Head.PITCH: 5.0, Head.VOICING: 1.0,
}  # fmt: skip
"""What the heads' mean losses count."""


@dataclass
class Told:
    """What the heads made of a batch."""

    batch: Batch
    losses: dict[Head, Tensor] = field(default_factory=dict)
    """Summed over the head's targets by their weights: divided by ``Batch.totals`` it is their mean."""
    figures: dict[str, Tensor] = field(default_factory=dict)
    """By task and head (3,): loss, hits and number of targets, summed. Nothing waits for the device here."""

    def values(self, head: Head, loss: Tensor) -> None:
        """A loss of values, of which none is right or wrong."""
        self.losses[head] = loss
        figure = F.pad(loss.detach()[None], (0, 2))
        figure[2] = self.batch.totals[head]
        self.figures[f"{self.batch.task}/{head}"] = figure

    def classes(self, head: Head, targets: Targets, scores_PO: Tensor) -> None:
        """Cross-entropy with one of the outputs at every target."""
        scores_PO = scores_PO.float()
        loss_P = F.cross_entropy(scores_PO, targets.value_P, reduction="none")
        self.losses[head] = (loss_P * targets.weight_P).sum()
        right_P = scores_PO.detach().argmax(-1) == targets.value_P
        self.figures[f"{self.batch.task}/{head}"] = _figure(loss_P.detach(), right_P)

    def once(self, head: Head, told: WrittenOnce, targets: Targets) -> None:
        """Words that may be written near their places; figures as ``words`` has them."""
        loss_P, word_P = (value_BT.flatten()[targets.at_P] for value_BT in (told.loss_BT, told.word_BT))
        self.losses[head] = (loss_P * targets.weight_P).sum()
        name, nothing_P = f"{self.batch.task}/{head}", torch.zeros_like(targets.weight_P)
        right_BT = told.right_BT
        self.figures[name] = _figure(loss_P.detach(), right_BT.flatten()[targets.at_P])
        self.figures[f"{name} right"] = _figure(nothing_P, right_BT.flatten()[targets.at_P], word_P)
        self.figures[f"{name} which"] = _figure(nothing_P, told.which_BT.flatten()[targets.at_P], word_P)
        extra_P = told.written_BT.flatten()[targets.at_P].float() - right_BT.flatten()[targets.at_P].float()
        self.figures[f"{name} extra"] = _figure(nothing_P, extra_P, word_P)

    def words(self, head: Head, targets: Targets, scores_PO: Tensor, num_words: int) -> None:
        """What a lane of words would write by the rule of decoding (a word if some word is likelier than all else).

        Of the words to be written: how many are (``right``), and how many would be if one had to be (``which``). And
        how many are written where there is none (``extra``), as a share of the words to be written.
        """
        is_word_P = targets.value_P < num_words
        written_P = scores_PO[:, :num_words].logsumexp(-1) > scores_PO[:, num_words:].logsumexp(-1)
        best_P = scores_PO[:, :num_words].argmax(-1) == targets.value_P
        nothing_P = torch.zeros_like(targets.weight_P)
        name = f"{self.batch.task}/{head}"
        self.figures[f"{name} right"] = _figure(nothing_P, best_P & written_P & is_word_P, is_word_P)
        self.figures[f"{name} which"] = _figure(nothing_P, best_P & is_word_P, is_word_P)
        self.figures[f"{name} extra"] = _figure(nothing_P, written_P & ~is_word_P, is_word_P)


class Learner(nn.Module):
    """Everything that learns."""

    filters_NM: Tensor

    def __init__(self, config: ModelConfig, vocoder: VocoderConfig | None = None) -> None:
        super().__init__()
        self.network = Network(config)
        self.phones = Linear(config.hearing.width, PHONES_PER_TOKEN * len(PHONES))
        self.phone_layers = (config.hearing.num_layers + 1) // 2
        self.phases = Linear(config.backbone.width, NUM_PHASES)
        self.vocoder = Vocoder(vocoder or VocoderConfig())
        self.register_buffer("filters_NM", torch.from_numpy(mel_filters()), persistent=False)

    def forward(self, batch: Batch, memory: MemoryConfig | None = None) -> Told:
        """The losses of all heads that have targets; ``memory`` takes the place of the configuration's."""
        told = Told(batch)
        heard_BUD = None
        if batch.turns.levels_BUFM.shape[1]:
            heard_BUD = self._hear(batch, told)
        if READ & batch.targets.keys():
            self._read(batch, heard_BUD, memory, told)
        if batch.mel is not None:
            self._make(batch, batch.mel, told)
        if batch.wave is not None:
            self._voice(batch, batch.wave, told)
        return told

    def _hear(self, batch: Batch, told: Told) -> Tensor:
        """What is heard, told; and the hearing stack's last state of every turn, (B, U, D)."""
        turns, hearing = batch.turns, self.network.hearing
        state = initial_hearing_state(hearing.config, len(turns.start_B), turns.start_B.device)
        arrived_BU = turns.sound_BU != Sound.GAP
        hidden_BTD, probed_BTD, _ = hearing(turn_levels(turns.levels_BUFM), arrived_BU, state, self.phone_layers)
        assert probed_BTD is not None
        flat_ND = hidden_BTD.flatten(0, 1)
        if targets := batch.targets.get(Head.WORDS):
            scores_BTO = hearing.words(hidden_BTD)
            value_N = torch.full(flat_ND.shape[:1], scores_BTO.shape[-1] - 1, device=flat_ND.device)
            value_N[targets.at_P] = targets.value_P
            told.once(Head.WORDS, written_once(scores_BTO, value_N.view(scores_BTO.shape[:2])), targets)
        if targets := batch.targets.get(Head.VOICE):
            told.classes(Head.VOICE, targets, F.pad(hearing.voice(flat_ND[targets.at_P]), (1, 0)))
        if targets := batch.targets.get(Head.PHONES):
            scores_NO = self.phones(probed_BTD.flatten(0, 1)).view(-1, len(PHONES))
            told.classes(Head.PHONES, targets, scores_NO[targets.at_P])
        return last_of_turn(hidden_BTD)

    def _read(self, batch: Batch, heard_BUD: Tensor | None, memory: MemoryConfig | None, told: Told) -> None:
        network, turns = self.network, batch.turns
        backbone = network.config.backbone
        before = initial_lane_state(len(turns.start_B), backbone.lane_words, turns.start_B.device)
        known, _ = lanes(turns, before)
        x_BTD = network.embedder(turns, known, heard_BUD)
        if phases := batch.targets.get(Head.PHASES):
            lower_BTD = network.backbone.whole(x_BTD, turns, memory, backbone.lower_layers)
            told.classes(Head.PHASES, phases, self.phases(lower_BTD.flatten(0, 1)[phases.at_P]))
        if said := batch.targets.get(Head.SAY):
            outputs, hidden_ND = network.say.outputs, network.backbone.whole(x_BTD, turns, memory).flatten(0, 1)
            renamed_P = batch.renamed_B[said.at_P // turns.kind_BT.shape[1]]
            scores_PO = network.say_scores(hidden_ND[said.at_P], known.after(said.at_P), renamed_P)
            told.classes(Head.SAY, said, scores_PO)
            scores_PO = outputs.unweighted(scores_PO.detach().float())
            told.words(Head.SAY, said, scores_PO, outputs.vocab_size)

    def _make(self, batch: Batch, mel: MelTargets, told: Told) -> None:
        """The frames of speaking turns: a coarse guess of all of them, the velocity of some."""
        flow, turns, chosen = self.network.flow, batch.turns, mel.flow_V
        known, _ = lanes(turns, initial_lane_state(len(turns.start_B), 0, turns.start_B.device))
        given = flow.condition(known.model_BTK.flatten(0, 1)[mel.at_S], known.age_BTK.flatten(0, 1)[mel.at_S])
        if len(mel.at_S):
            told.values(Head.GUESS, F.mse_loss(given.coarse_SFM.float(), mel.mel_SFM) * len(mel.at_S))
        if len(chosen):
            last, target = mel.last_mel_SFM[chosen], mel.mel_SFM[chosen]
            loss = flow.velocity_loss(given.select(chosen), last, target, mel.noise_VFM, mel.time_V)
            told.values(Head.FLOW, loss * len(chosen))

    def _voice(self, batch: Batch, wave: WaveTargets, told: Told) -> None:
        # Transforms and the phases of sources need all their digits.
        with torch.autocast(wave.mel_BFM.device.type, enabled=False):
            for head, loss in vocoder_losses(self.vocoder, wave, self.filters_NM).items():
                told.values(head, loss)


def _figure(loss_P: Tensor, right_P: Tensor, counted_P: Tensor | None = None) -> Tensor:
    count = torch.ones_like(loss_P) if counted_P is None else counted_P
    return torch.stack([loss_P.sum(), right_P.float().sum(), count.float().sum()])
