"""What the plateau rule promises, held against many trainings with noise: pure loops of `decide`."""

import dataclasses
import math
import random
import statistics
from collections.abc import Callable

import pytest

from rllib_ext.pruning.config import PruningConfig
from rllib_ext.pruning.schedule.decide import decide, start
from rllib_ext.pruning.schedule.patience import FALSE_ACCEPTANCES, Plateau, advance

DENSE = 100.0
Noise = Callable[[random.Random], float]


def normal(rng: random.Random) -> float:
    return rng.gauss(0.0, 1.0)


def uniform(rng: random.Random) -> float:
    return rng.uniform(-math.sqrt(3.0), math.sqrt(3.0))


def failures(rng: random.Random) -> float:
    """Of ten episodes each fails with a chance of 0.3, as near a cap on the return."""
    failed = sum(rng.random() < 0.3 for _ in range(10))
    return (3.0 - failed) / math.sqrt(10 * 0.3 * 0.7)


NOISES: dict[str, Noise] = {"normal": normal, "uniform": uniform, "failures": failures}


@dataclasses.dataclass
class Training:
    """A policy whose true return is a matter of its sparsity, evaluated with noise.

    Attributes:
        loss: Share of the return that is lost, from the sparsity.
        deviation: Standard deviation of an evaluation.
        recovery: Evaluations after a raise until the return is what the sparsity allows; it starts at
            a half of it.
    """

    config: PruningConfig
    loss: Callable[[float], float]
    deviation: float
    noise: Noise = normal
    recovery: int = 0

    def run(self, rng: random.Random, evaluations: int = 400) -> Plateau:
        """Where the rule stands in the end."""
        standing, sparsity, since = start(self.config), 0.0, self.recovery
        for _ in range(evaluations):
            recovered = 1.0 if since >= self.recovery else 0.5 + 0.5 * since / self.recovery
            evaluated = self.true_return(sparsity) * recovered
            evaluated += self.deviation * self.noise(rng)
            decision, standing = decide(self.config, standing, 0.5, evaluated, 0.0)
            since = 0 if decision.prune else self.recovery if decision.roll_back else since + 1
            sparsity = decision.extent.sparsity or 0.0
            assert standing.plateau is not None
            if standing.plateau.ended:
                break
        return standing.plateau

    def true_return(self, sparsity: float) -> float:
        return DENSE * (1.0 - self.loss(sparsity))

    def accepted_return(self, plateau: Plateau) -> float:
        assert self.config.final_sparsity is not None
        return self.true_return(plateau.accepted * self.config.final_sparsity)

    def breaks_its_word(self, plateau: Plateau) -> bool:
        """Whether the accepted policy's true return lies below the bar."""
        bar = plateau.bar(self.config.tolerance, 0.0)
        return self.accepted_return(plateau) < bar - 1e-9


def config(**changes: float) -> PruningConfig:
    values = {"final_sparsity": 0.95, "schedule": "plateau", "begin": 0.0, "end": 1.0}
    return PruningConfig.from_dict({**values, "horizon": 1000, **changes})


def random_training(rng: random.Random, noise: Noise) -> Training:
    """Any loss that rises with sparsity, gently or at a cliff, and noise up to the tolerance."""
    tolerance = rng.uniform(0.02, 0.15)
    at_end, exponent = rng.uniform(0.0, 1.0), rng.uniform(0.5, 12.0)
    step = rng.choice([0.05, 0.1, 0.2])
    return Training(
        config(tolerance=tolerance, patience=rng.randint(0, 8), step=step, min_step=step / 8),
        loss=lambda sparsity: at_end * sparsity**exponent,
        deviation=DENSE * tolerance * rng.uniform(0.0, 1.0),
        noise=noise,
        recovery=rng.choice([0, 0, 2]),
    )


def limit(runs: int) -> float:
    """The stated share, and three standard errors of what is counted."""
    share = FALSE_ACCEPTANCES
    return share + 3.0 * math.sqrt(share * (1.0 - share) / runs)


@pytest.mark.parametrize("noise", NOISES)
def test_an_accepted_policy_is_below_the_bar_in_the_stated_share_of_runs_at_most(
    noise: str,
) -> None:
    rng, runs, broken = random.Random(0), 700, 0
    for _ in range(runs):
        training = random_training(rng, NOISES[noise])
        broken += training.breaks_its_word(training.run(rng))
    assert broken / runs <= limit(runs)


@pytest.mark.parametrize("patience", [0, 2, 5, 20])
@pytest.mark.parametrize("noise", NOISES)
def test_a_level_exactly_at_the_bar_is_accepted_in_the_stated_share(
    noise: str, patience: int
) -> None:
    """The worst case: noise alone decides."""
    rng, trials, accepted = random.Random(1), 1500, 0
    for _ in range(trials):
        before = statistics.stdev(4.0 * NOISES[noise](rng) for _ in range(5))
        plateau = Plateau(step=0.1, level=0.1, reference=DENSE, deviation=before, begun=True)
        action = "hold"
        while action == "hold":
            action, plateau = advance(
                plateau,
                95.0 + 4.0 * NOISES[noise](rng),
                tolerance=0.05,
                patience=patience,
                min_step=0.01,
                random_return=0.0,
            )
        accepted += action == "raise"
    assert accepted / trials <= limit(trials)


@pytest.mark.parametrize("exponent", [1.0, 4.0, 12.0])
def test_without_noise_it_ends_within_the_smallest_step_of_what_the_tolerance_allows(
    exponent: float,
) -> None:
    training = Training(config(tolerance=0.05), loss=lambda s: 0.5 * s**exponent, deviation=0.0)
    plateau = training.run(random.Random(0))
    allowed = (0.05 / 0.5) ** (1.0 / exponent)
    assert allowed - 2 * 0.005 <= plateau.accepted * 0.95 <= allowed
    assert not training.breaks_its_word(plateau)


def test_with_noise_of_half_the_tolerance_what_costs_nothing_is_pruned() -> None:
    """Caution doesn't freeze the rule: most runs come to the end."""
    sparsities = []
    for seed in range(80):
        training = Training(
            config(tolerance=0.05, step=0.1, min_step=0.01),
            loss=lambda sparsity: 0.0 if sparsity < 0.8 else 1.0,
            deviation=2.5,
        )
        plateau = training.run(random.Random(seed))
        sparsities.append(plateau.accepted * 0.95)
    assert sum(s > 0.75 for s in sparsities) / len(sparsities) > 0.8


def test_the_article_s_loop_does_not_lose_more_than_it_was_allowed() -> None:
    """4.5 % of what is left at every step of 5 %: compounded, all of it was accepted."""
    training = Training(
        config(tolerance=0.05, step=0.05), loss=lambda s: 1.0 - 0.955 ** (s / 0.05), deviation=0.0
    )
    plateau = training.run(random.Random(0))
    assert plateau.ended
    assert training.accepted_return(plateau) >= 95.0
