from pathlib import Path

import pytest

from search.front.identity import folder_labels


@pytest.mark.parametrize(
    ("given", "labels"),
    [
        (["/a/x", "/a/y"], ["x", "y"]),
        (["/a/x", "/b/x", "/a/y"], ["a/x", "b/x", "y"]),
        (["/a/b/x", "/c/b/x"], ["a/b/x", "c/b/x"]),
        (["/x", "/a/x"], ["/x", "a/x"]),
        (["/a/b/../x", "/b/./x"], ["a/x", "b/x"]),
    ],
)
def test_a_label_is_no_longer_than_it_must_be(given, labels):
    assert folder_labels([Path(folder) for folder in given]) == labels
