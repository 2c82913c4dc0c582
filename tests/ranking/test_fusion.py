"""The noise matrix of many classes, of which only the pairs on some shortlist are counted."""

from __future__ import annotations

import numpy as np

from gradattn_core.ranking import fusion
from gradattn_core.ranking.arrays import softmax
from gradattn_core.ranking.fusion import fuse
from gradattn_core.ranking.shortlist import Shortlist, likeliest
from gradattn_core.records import FloatArray

CLASSES = 60


def voted(images: int, classes: int, seed: int = 0) -> tuple[FloatArray, Shortlist]:
    """A voter [1, N, C] that mostly agrees with labels of which a tenth is wrong, at the shortlist."""
    rng = np.random.default_rng(seed)
    true = np.arange(images) % classes
    given = np.where(rng.random(images) < 0.1, (true + 1) % classes, true)
    logits = rng.normal(size=(images, classes)).astype(np.float32)
    logits[np.arange(images), true] += 4
    shortlist = likeliest(lambda rows: logits[rows], given, classes)
    table = np.take_along_axis(logits, shortlist.index, axis=1)
    return np.log(softmax(table))[None], shortlist


def every_pair(shortlist: Shortlist) -> fusion._Pairs:
    numbers = np.arange(shortlist.classes, dtype=np.int32)
    return fusion._Pairs(np.repeat(numbers, len(numbers)), np.tile(numbers, len(numbers)), None)


def test_the_noise_of_pairs_that_occur_is_that_of_all_pairs() -> None:
    votes, shortlist = voted(2 * CLASSES, CLASSES)
    few, every = fusion._Pairs.of(shortlist), every_pair(shortlist)
    assert few.place is not None and len(few.true) < len(every.true)
    posterior = softmax(votes[0])
    ours, whole = (fusion._estimate_noise(posterior, pairs, shortlist) for pairs in (few, every))
    np.testing.assert_allclose(ours.matrix(), whole.matrix(), rtol=1e-6)
    np.testing.assert_allclose(ours.matrix().sum(axis=1), 1, atol=1e-5)
    for power in (1.0, 0.7):
        np.testing.assert_allclose(ours.likelihood(shortlist, power), whole.likelihood(shortlist, power), rtol=1e-6)


def test_of_many_images_all_pairs_are_counted_and_of_few_no_more_than_there_are_on_shortlists() -> None:
    assert fusion._Pairs.of(voted(10 * CLASSES, CLASSES)[1]).place is None
    votes, shortlist = voted(3000, 1500)
    pairs = fusion._Pairs.of(shortlist)
    assert len(pairs.true) <= shortlist.index.size < 1500**2 / 25
    judged = fuse(votes, shortlist)
    right = shortlist.given == np.arange(3000) % 1500
    assert judged.trust[right].mean() > judged.trust[~right].mean() + 0.5
