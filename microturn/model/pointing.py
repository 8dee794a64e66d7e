"""What the say head can point at: the next letter of a word that is to be spelt, the next word of what is read out.

A word is one token and has no letters, so words that were never spelt could not be; and a text is lost on the way when
words of it come twice. What would come next is found by comparing tokens alone; whether it is said is learnt (See et
al. 2017, "Get To The Point", section 2.2).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from microturn.model.lanes import NONE
from microturn.model.spelling import BEGINNING, FIRST_LETTER, LATIN_LETTERS, NOTHING, OTHER

# Shapes: N tokens that something comes after, K newest tokens of a lane, V text tokens, L letters of a token, J places
# before and behind tokens of a text, S tokens of what was said.

END = -2
"""Behind a text's last token."""
TEXT_GAP_TURNS = 2
"""What comes in after a longer pause is another text."""
FIRST_DIGIT = FIRST_LETTER + LATIN_LETTERS
LAST_DIGIT = FIRST_DIGIT + 9


def letters_at(table_VL: Tensor, tokens_NK: Tensor, place_N: Tensor) -> Tensor:
    """Of each of the newest words of a text, of which the K newest tokens are given, the newest first: which letter is
    at ``place``, ``NOTHING`` behind its end (N, K). ``OTHER`` where there are no more words. Marks and digits have no
    place: "flower?" is spelt as "flower" is."""
    letters_NKL = torch.where((tokens_NK == NONE).unsqueeze(-1), NOTHING, table_VL[tokens_NK.clamp(min=0)])
    letters, count = letters_NKL.flip(1).flatten(1), tokens_NK.shape[1]  # in the order of the text
    begins, is_letter = letters == BEGINNING, (letters >= FIRST_LETTER) & (letters < FIRST_DIGIT)
    word, num_letters = begins.cumsum(1), is_letter.cumsum(1)
    place = num_letters - torch.where(begins, num_letters, 0).cummax(1).values - 1
    back = word[:, -1:] - word
    at = torch.where(is_letter & (word > 0) & (place == place_N.unsqueeze(1)), back, count)
    is_word = torch.arange(count + 1, device=letters.device) < word[:, -1:]
    return torch.where(is_word, NOTHING, OTHER).scatter(1, at, letters)[:, :count]


def letters_said(table_VL: Tensor, said_NS: Tensor, num_said_N: Tensor) -> Tensor:
    """How many letters (N,) were said one after the other since the model listened, up to now: words before them do not
    count as far as the lane goes back."""
    letters_NSL = table_VL[said_NS.clamp(min=0)]
    is_latin_NS = (letters_NSL[..., 1] >= FIRST_LETTER) & (letters_NSL[..., 1] < FIRST_DIGIT)
    is_letter_NS = (letters_NSL[..., 0] == BEGINNING) & is_latin_NS & (letters_NSL[..., 2] == NOTHING)
    run_N = is_letter_NS.long().cumprod(1).sum(1)
    return torch.where(run_N < said_NS.shape[1], torch.minimum(run_N, num_said_N), num_said_N)


def next_read(
    table_VL: Tensor, read_NK: Tensor, turn_NK: Tensor, said_NS: Tensor, said_turn_NS: Tensor, num_said_N: Tensor
) -> Tensor:
    """The token (N,) that goes on with what has been read in; behind its last ``END``, or ``NONE`` in silence.

    It stands behind the longest run of read tokens that are the last ones said, each after it came in; of several in
    the newest text, there behind the first. Where the model is silent and nothing was said of the newest text, it is
    that text's first. ``read`` and ``said`` have the newest first. A job's number is not read out.
    """
    read_NK, turn_NK = _words(table_VL, read_NK, turn_NK)
    count, places = said_NS.shape[1], read_NK.shape[1] + 1
    is_older_NK = F.pad((turn_NK[:, :-1] - turn_NK[:, 1:] > TEXT_GAP_TURNS) & (read_NK[:, 1:] != NONE), (1, 0))
    text_NK = is_older_NK.long().cumsum(1)
    before_NJS = F.pad(read_NK, (0, count), value=NONE).unfold(1, count, 1)
    came_NJS = F.pad(turn_NK, (0, count)).unfold(1, count, 1)
    text_NJS = F.pad(text_NK, (0, count), value=places).unfold(1, count, 1)
    same_NJS = (before_NJS == said_NS.unsqueeze(1)) & (before_NJS != NONE) & (came_NJS <= said_turn_NS.unsqueeze(1))
    run_NJ = (same_NJS & (text_NJS == text_NJS[..., :1])).long().cumprod(-1).sum(-1)
    is_newest_NK = (text_NK == 0) & (read_NK != NONE)
    began_N = torch.where(is_newest_NK, turn_NK, turn_NK.amax(1, keepdim=True)).amin(1)
    is_new_N = (run_NJ.amax(1) == 0) | (began_N > said_turn_NS[:, 0]) | (said_NS[:, 0] == NONE)
    is_first_N1 = (is_new_N & (num_said_N == 0)).unsqueeze(1)
    # Before anything is said what matters is the text that a token is of, then the one of the token before it.
    text_NJ = torch.where(is_first_N1, F.pad(text_NK, (1, 0)), text_NJS[..., 0])
    run_NJ = torch.where(is_first_N1, 0, run_NJ)
    rank_NJ = (run_NJ * places - text_NJ) * places + torch.arange(places, device=read_NK.device)
    follows_NJ = torch.cat([torch.full_like(read_NK[:, :1], END), read_NK], 1)
    best_N1 = torch.where(follows_NJ == NONE, -1, rank_NJ).argmax(1, keepdim=True)
    next_N = follows_NJ.gather(1, best_N1).squeeze(1)
    is_known_N = ((run_NJ.gather(1, best_N1) > 0) | is_first_N1).squeeze(1) & (read_NK[:, 0] != NONE)
    return torch.where(is_known_N & ((next_N != END) | (num_said_N > 0)), next_N, NONE)


def _words(table_VL: Tensor, read_NK: Tensor, turn_NK: Tensor) -> tuple[Tensor, Tensor]:
    """Without the tokens that are numbers; ``NONE`` moves up behind."""
    letters_NKL = table_VL[read_NK.clamp(min=0)]
    is_digit_NK = ((letters_NKL >= FIRST_DIGIT) & (letters_NKL <= LAST_DIGIT)).any(-1)
    is_space_NK = (letters_NKL[..., 0] == BEGINNING) & (letters_NKL[..., 1] == NOTHING)
    before_digit_NK = is_space_NK & F.pad(is_digit_NK[:, :-1], (1, 0))
    is_word_NK = (read_NK != NONE) & ~is_digit_NK & ~before_digit_NK
    order = torch.argsort((~is_word_NK).to(torch.uint8), dim=1, stable=True)
    return torch.where(is_word_NK, read_NK, NONE).gather(1, order), turn_NK.gather(1, order)
