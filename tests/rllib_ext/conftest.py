"""What the tests of RLlib's examples share."""

import pytest


@pytest.fixture(scope="session")
def unpruned(ray_cluster, tmp_path_factory):
    """Trains one of RLlib's examples without this project, once."""
    found = {}

    def train(example):
        from examples_checked import train_unpruned

        if example.name not in found:
            found[example.name] = train_unpruned(example, tmp_path_factory.mktemp("unpruned"))
        return found[example.name]

    return train
