"""The word that is being said, letter by letter: what a turn's sound is made from.

The say lane carries byte-pair tokens; a rare word is several of them, and their number says nothing of how it sounds.
Letters do: words that the model was never taught to say are made of the same ones. A short convolution reads them, and
each moment of a turn looks for the letters that sound then (as Tacotron reads characters: Wang et al. 2017, section
3.2; here a turn at a time, by the age of the word, with no state of its own).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from microturn.language.tokenizer import TextTokenizer
from microturn.model.lanes import MAX_AGE, NONE
from microturn.model.linear import Linear, gelu, products, streams

# Shapes: S speaking turns, D distinct words of them, V text tokens, L letters of a token, K tokens of the say lane, N
# letters of a word, M moments of a turn, W width.

ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789'-"
LATIN_LETTERS = 26
NOTHING, BEGINNING, OTHER = 0, 1, 2
FIRST_LETTER = 3
NUM_LETTERS = FIRST_LETTER + len(ALPHABET)
TOKEN_LETTERS = 16
"""Letters of a token, its leading space included; what is longer is cut."""
WORD_LETTERS = 20
KERNEL = 3
HEADS = 4
FIRST_LENGTH = 2.5
"""Of a letter, before anything is learnt: 50 ms in moments of 20."""
SHORTEST = 0.1
WAVES = (0.5, 1.0, 2.0, 4.0)
"""Angular frequencies by which a moment knows where it is in a letter (lengths) and in the word (turns)."""
UNSEEN = -1e4
"""Added to the score of what is no letter."""


def spelt(tokenizer: TextTokenizer) -> Tensor:
    """The letters of every token (V, L): ``BEGINNING`` for a space, then places in ``ALPHABET``."""
    table_VL = torch.zeros(tokenizer.vocab_size, TOKEN_LETTERS, dtype=torch.int64)
    for token in range(tokenizer.vocab_size):
        for place, letter in enumerate(tokenizer.decode([token]).lower()[:TOKEN_LETTERS]):
            known = ALPHABET.find(letter)
            table_VL[token, place] = BEGINNING if letter == " " else OTHER if known < 0 else FIRST_LETTER + known
    return table_VL


def word_letters(table_VL: Tensor, said_SK: Tensor, age_SK: Tensor) -> tuple[Tensor, Tensor]:
    """Letters (S, N) of the newest word, ``NOTHING`` behind its last, and how many turns it has lasted (S,).

    ``said`` holds the newest tokens of the say lane, the newest first, and ``age`` their ages, the present turn
    included; 0 where nothing is being said.
    """
    said_SK, age_SK = said_SK.flip(1), age_SK.flip(1)
    letters_SKL = torch.where((said_SK == NONE).unsqueeze(-1), NOTHING, table_VL[said_SK.clamp(min=0)])
    letters, age = letters_SKL.flatten(1), age_SK.repeat_interleave(table_VL.shape[1], 1)
    place = torch.arange(letters.shape[1], device=letters.device)
    begins_S = torch.where(letters == BEGINNING, place, -1).amax(1)
    age_S = age.gather(1, begins_S.clamp(min=0).unsqueeze(1)).squeeze(1)
    kept = (letters != NOTHING) & (place >= begins_S.unsqueeze(1)) & (age_S > 0).unsqueeze(1)
    order = torch.where(kept, place, len(place)).argsort(1)[:, :WORD_LETTERS]
    return torch.where(kept, letters, NOTHING).gather(1, order), age_S


def renamed(letters: Tensor, by: Tensor) -> Tensor:
    """Letters of the alphabet moved on ``by`` places, from its end to its beginning; all else as it is."""
    place = letters - FIRST_LETTER
    return torch.where((place >= 0) & (place < LATIN_LETTERS), (place + by) % LATIN_LETTERS + FIRST_LETTER, letters)


class LettersLayer(nn.Module):
    """Mixes each letter with its neighbours."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mix = Linear(KERNEL * width, width)
        self.out = Linear(width, width)

    def forward(self, x_SNW: Tensor, is_letter_SN1: Tensor) -> Tensor:
        width = x_SNW.shape[-1]
        normed = F.layer_norm(x_SNW, (width,)) * is_letter_SN1
        near = F.pad(normed, (0, 0, KERNEL // 2, KERNEL // 2)).unfold(1, KERNEL, 1).flatten(2)
        result: Tensor = x_SNW + self.out(gelu(self.mix(near)))
        return result


class MomentsLayer(nn.Module):
    """Every moment of the turn looks at the letters, then at itself."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query = Linear(width, width)
        self.key_value = Linear(width, 2 * width)
        self.out = Linear(width, width)
        self.up = Linear(width, 3 * width)
        self.down = Linear(3 * width, width)

    def forward(self, x_SMW: Tensor, letters_DNW: Tensor, unseen_DN: Tensor, word_S: Tensor) -> Tensor:
        width = x_SMW.shape[-1]
        query = self.query(F.layer_norm(x_SMW, (width,))).unflatten(-1, (HEADS, -1)).transpose(1, 2)
        key, value = self.key_value(letters_DNW)[word_S].unflatten(-1, (2, HEADS, -1)).permute(2, 0, 3, 1, 4)
        scores = products(query, key) * (HEADS / width) ** 0.5 + unseen_DN[word_S][:, None, None]
        x_SMW = x_SMW + self.out(products(scores.softmax(-1), value.mT).transpose(1, 2).flatten(2))
        result: Tensor = x_SMW + self.down(gelu(self.up(F.layer_norm(x_SMW, (width,)))))
        return result


class Reader(nn.Module):
    """Letters and age of the word that is being said to a vector for every moment of the turn.

    Every letter is given a length, and so a time in the word; a moment is made of the letters around it in time, and of
    where in them it is (Gaussian upsampling: Shen et al. 2020, "Non-Attentive Tacotron", section 3.1; here no lengths
    are told, they are learnt from the sound).
    """

    waves_P: Tensor

    def __init__(self, width: int, num_moments: int, num_layers: int = 3) -> None:
        super().__init__()
        self.num_moments = num_moments
        self.letter = nn.Embedding(NUM_LETTERS, width)
        self.place = nn.Embedding(WORD_LETTERS, width)
        self.moment = nn.Embedding((1 + MAX_AGE) * num_moments, width)
        self.letters = nn.ModuleList(LettersLayer(width) for _ in range(num_layers))
        self.length = Linear(width, 1)
        self.where = Linear(4 * len(WAVES), width)
        self.moments = nn.ModuleList(MomentsLayer(width) for _ in range(2))
        self.register_buffer("waves_P", torch.tensor(WAVES), persistent=False)
        for table in (self.letter, self.place):
            nn.init.normal_(table.weight, std=0.5)
        nn.init.normal_(self.moment.weight, std=0.1)
        nn.init.normal_(self.length.weight, std=0.01)
        nn.init.constant_(self.length.bias, FIRST_LENGTH)

    def forward(self, letters_SN: Tensor, age_S: Tensor) -> Tensor:
        """(S, M, W). In streaming on a CPU row by row, so that a row's bits do not depend on the others."""
        if streams(self.letter.weight) and len(age_S) > 1:
            return torch.cat([self(letters_SN[row : row + 1], age_S[row : row + 1]) for row in range(len(age_S))])
        letters_DN, word_S = letters_SN, torch.arange(len(age_S), device=age_S.device)
        if streams(self.letter.weight):
            letters_DN = letters_DN[:, : max(1, int((letters_DN != NOTHING).sum()))]
        elif letters_SN.device.type == "cpu":  # every word once; a GPU would wait for how many there are
            letters_DN, word_S = torch.unique(letters_SN, dim=0, return_inverse=True)
        is_letter_DN = letters_DN != NOTHING
        x_DNW = self.letter(letters_DN) + self.place.weight[: letters_DN.shape[1]]
        for layer in self.letters:
            x_DNW = layer(x_DNW, is_letter_DN.unsqueeze(-1))
        x_DNW = F.layer_norm(x_DNW, x_DNW.shape[-1:])
        unseen_DN = torch.zeros_like(x_DNW[..., 0]).masked_fill(~is_letter_DN, UNSEEN)
        unseen_DN[:, 0] = 0.0  # so that there is something to look at where nothing is said
        length_DN = (F.softplus(self.length(x_DNW).squeeze(-1)) + SHORTEST) * is_letter_DN
        moment_SM = age_S.unsqueeze(1) * self.num_moments + torch.arange(self.num_moments, device=age_S.device)
        x_SMW = self._timed(x_DNW, length_DN, unseen_DN, word_S, moment_SM) + self.moment(moment_SM)
        for layer in self.moments:
            x_SMW = layer(x_SMW, x_DNW, unseen_DN, word_S)
        return F.layer_norm(x_SMW, x_SMW.shape[-1:])

    def _timed(self, x_DNW: Tensor, length_DN: Tensor, unseen_DN: Tensor, word_S: Tensor, moment_SM: Tensor) -> Tensor:
        """The letters around every moment in time, and where in them, and in the word, it is (S, M, W)."""
        centre_SN = (length_DN.cumsum(1) - length_DN / 2)[word_S]
        time_SM = (moment_SM - self.num_moments).float() + 0.5
        apart_SMN = (time_SM.unsqueeze(-1) - centre_SN.unsqueeze(1)) / (length_DN[word_S].unsqueeze(1) + SHORTEST)
        share_SMN = (unseen_DN[word_S].unsqueeze(1) - apart_SMN.square()).softmax(-1)
        within_SM = (share_SMN * apart_SMN.clamp(-2.0, 2.0)).sum(-1)
        left_SM = ((length_DN.sum(1)[word_S].unsqueeze(1) - time_SM) / self.num_moments).clamp(-1.0, 3.0)
        angle = (torch.stack([within_SM, left_SM], -1).unsqueeze(-1) * self.waves_P).flatten(-2)
        result: Tensor = products(share_SMN, x_DNW[word_S].mT) + self.where(torch.cat([angle.sin(), angle.cos()], -1))
        return result
