import dataclasses
import math

import pytest

from benchmarks.shared.proof import Proof, proof_in

GOOD = Proof(
    env="CartPole-v1",
    env_steps=1024,
    returns=[500.0, 430.0],
    adam_steps=16,
    expected_adam_steps=16,
    advantages_off=1e-7,
    weights_off=2e-4,
)


def test_a_proof_is_found_among_other_lines():
    assert proof_in(f"a warning\n{GOOD.as_line()}\nbye\n") == GOOD
    assert proof_in("a warning\n") is None
    assert GOOD.failures() == []
    assert "NOT" not in GOOD.told()
    assert "return 465 in Gymnasium's CartPole-v1 (430 to 500)" in GOOD.told()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"returns": [500.0, 390.0]}, "a mean return of 445, expected 450"),
        ({"returns": [500.0, math.nan]}, "a mean return of nan"),
        ({"adam_steps": 15}, "15 Adam steps, expected 16"),
        ({"advantages_off": 1e-3}, "advantages"),
        ({"advantages_off": math.nan}, "advantages"),
        ({"weights_off": 0.01}, "torch's"),
    ],
)
def test_what_falls_short_is_no_peer_to_compare_with(changes, said):
    proof = dataclasses.replace(GOOD, **changes)
    assert len(proof.failures()) == 1
    assert said in proof.told().partition("NOT a peer to compare with: ")[2]


def test_elsewhere_the_return_is_told_and_not_judged():
    acrobot = dataclasses.replace(GOOD, env="Acrobot-v1", returns=[-90.0])
    assert acrobot.failures() == []
