"""Words written once near their labels, against sums over all choices of places."""

import itertools

import pytest
import torch
from torch import Tensor

from microturn.train.once import OFFSETS, written_once

WORDS, PLACES = 5, 9


def labels(*words: tuple[int, int]) -> Tensor:
    """(1, T) from (place, word)."""
    found = torch.full((1, PLACES), WORDS)
    for place, word in words:
        found[0, place] = word
    return found


def windows(places: list[int]) -> list[list[int]]:
    """The places of every label: each place belongs to the nearest label, to the earlier one of two as near."""
    found: list[list[int]] = [[] for _ in places]
    for place in range(PLACES):
        near = [(abs(place - label), index) for index, label in enumerate(places) if place - label in OFFSETS]
        if near:
            found[min(near)[1]].append(place)
    return found


@pytest.mark.parametrize("places", [[], [4], [0], [8], [2, 3], [2, 4], [1, 2, 3], [0, 3, 5, 8]])
def test_the_loss_is_that_of_all_choices_of_places_added_up(places: list[int]) -> None:
    generator = torch.Generator().manual_seed(len(places))
    scores = torch.randn(1, PLACES, WORDS + 1, generator=generator, requires_grad=True)
    words = [(place, int(torch.randint(WORDS, (), generator=generator))) for place in places]
    loss = written_once(scores, labels(*words)).loss_BT.sum()
    log = scores.detach()[0].log_softmax(-1)
    choices = []
    for chosen in itertools.product(*windows(places)):
        written = dict(zip(chosen, (word for _, word in words), strict=True))
        choices.append(torch.stack([log[place, written.get(place, WORDS)] for place in range(PLACES)]).sum())
    torch.testing.assert_close(loss, -torch.stack(choices).logsumexp(0))
    (gradient,) = torch.autograd.grad(loss, scores)
    assert gradient.isfinite().all()


def test_a_word_beside_its_label_is_right_and_one_elsewhere_is_not() -> None:
    scores = torch.zeros(1, PLACES, WORDS + 1)
    scores[..., WORDS] = 9.0
    scores[0, 3, 1] = scores[0, 7, 2] = 20.0
    told = written_once(scores, labels((2, 1), (5, 2)))
    assert told.right_BT.nonzero().tolist() == told.which_BT.nonzero().tolist() == [[0, 2]]
    assert told.written_BT.nonzero().tolist() == [[0, 3], [0, 7]]


def test_rows_do_not_touch() -> None:
    scores = torch.randn(2, PLACES, WORDS + 1, generator=torch.Generator().manual_seed(0))
    rows = torch.cat([labels((8, 3)), labels((0, 2))])
    both = written_once(scores, rows).loss_BT.sum(1)
    alone = [written_once(scores[row : row + 1], rows[row : row + 1]).loss_BT.sum() for row in range(2)]
    torch.testing.assert_close(both, torch.stack(alone))
