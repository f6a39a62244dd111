"""The counter-based generator against published answers and a reference of plain integers."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rllib_ext.packed.philox import philox

ALL = 0xFFFFFFFF
# Counter, key and answer of philox4x32 with 10 rounds, from kat_vectors of the authors' Random123; the
# last one counts in digits of π.
PUBLISHED = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((ALL,) * 4, (ALL,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


def reference(counter, key):
    """Salmon et al. 2011, section 3.3, word by word."""
    a, b, c, d = counter
    k, m = key
    for _ in range(10):
        first, second = 0xD2511F53 * a, 0xCD9E8D57 * c
        a, b, c, d = (second >> 32) ^ b ^ k, second & ALL, (first >> 32) ^ d ^ m, first & ALL
        k, m = (k + 0x9E3779B9) & ALL, (m + 0xBB67AE85) & ALL
    return a, b, c, d


def stacked(words):
    return tuple(torch.tensor(each) for each in zip(*words, strict=True))


@pytest.mark.parametrize(("counter", "key", "answer"), PUBLISHED)
def test_published_answers(counter, key, answer):
    found = philox(stacked([counter]), stacked([key]))
    assert tuple(int(word) for word in found) == answer == reference(counter, key)


word = st.integers(0, ALL)


@given(st.lists(st.tuples(*[word] * 6), min_size=1, max_size=8))
def test_many_blocks_at_once_are_those_of_the_reference(blocks):
    found = philox(stacked([b[:4] for b in blocks]), stacked([b[4:] for b in blocks]))
    expected = [reference(b[:4], b[4:]) for b in blocks]
    assert torch.stack(found, dim=-1).tolist() == [list(words) for words in expected]


def test_shapes_broadcast():
    counter = (torch.arange(3), torch.arange(2).view(2, 1), torch.tensor(7), torch.tensor(0))
    key = (torch.arange(4).view(4, 1, 1), torch.tensor(5))
    found = torch.stack(philox(counter, key), dim=-1)
    assert found.shape == (4, 2, 3, 4)
    assert found[3, 1, 2].tolist() == list(reference((2, 1, 7, 0), (3, 5)))
