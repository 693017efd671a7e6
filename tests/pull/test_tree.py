"""The tree that proofs are made from is RFC 6962's."""

import pytest

from forwarder.pull.tree import Tree
from forwarder.seal import merkle


@pytest.mark.parametrize("size", [1, 2, 3, 4, 7, 8, 9, 257])
def test_roots_and_paths_are_those_of_the_rfc(size):
    leaves = [merkle.leaf_hash(bytes([n % 256])) for n in range(size)]
    tree = Tree()
    for count, leaf in enumerate(leaves, 1):
        tree.add(leaf)
        assert tree.root(0, count) == merkle.root(leaves[:count])
    for index in {0, size // 2, size - 1}:
        assert list(tree.path(index, size)) == merkle.inclusion_path(leaves, index)
        assert list(tree.path(index, index + 1)) == merkle.inclusion_path(leaves[: index + 1], index)


def test_no_leaf_is_the_empty_root():
    assert Tree().root(0, 0) == merkle.EMPTY
