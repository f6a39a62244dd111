import numpy as np
import pytest

from benchmarks.masks import (
    CONTROL,
    GRADIENT,
    HOOKS,
    PLAIN,
    PRUNED,
    SPARSITY,
    build_algorithms,
    print_ratios,
    time_hooks,
)


def _seconds(**slower):
    """Iterations of a second, some algorithms slower by a factor; rows as of a measurement."""
    noise = np.random.default_rng(0).uniform(0.999, 1.001, (4, 2, 30))
    names = (PLAIN, CONTROL, PRUNED, GRADIENT)
    return {n: slower.get(n, 1.0) * own for n, own in zip(names, noise, strict=True)}


@pytest.mark.parametrize(
    ("slower", "told"),
    [
        ({PRUNED: 1.02}, ["below the target", "below the target"]),
        ({GRADIENT: 1.08}, ["below the target", "NOT below the target"]),
        ({PRUNED: 1.08, CONTROL: 1.08}, ["can't tell", "below the target"]),
    ],
)
def test_the_upper_end_of_the_cost_decides_unless_noise_reaches_as_far(capsys, slower, told):
    print_ratios(_seconds(**slower), np.random.default_rng(0))
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  pruned")]
    for line, words in zip(lines, told * 2, strict=True):
        assert words in line
        assert ("NOT" in line) == ("NOT" in words)


@pytest.mark.ray
def test_all_hold_the_same_weights_and_every_hook_is_timed(small_ppo):
    ppo = small_ppo(lr=0.0)
    algorithms = build_algorithms(ppo)
    try:
        held = []
        for algorithm in algorithms.values():
            algorithm.train()
            state = algorithm.learner_group._learner.module.get_state()["default_policy"]
            held.append({name: np.asarray(weights) for name, weights in state.items()})
        for other in held[1:]:
            assert all(np.array_equal(held[0][name], other[name]) for name in held[0])
        for name in (PRUNED, GRADIENT):
            pruner = algorithms[name].learner_group._learner.pruner
            assert pruner.report()["sparsity"] == pytest.approx(SPARSITY, abs=0.01)
            hooks = time_hooks(algorithms[name], 2)
            assert list(hooks) == list(HOOKS)
            calls = {hook: count for hook, (_, count) in hooks.items()}
            assert calls["before_update"] == calls["after_update"] == 1
            minibatches = calls["observe_gradients"]
            assert minibatches > 1
            # Before they are clipped, and again once users' classes have had them.
            assert calls["mask_gradients_"] == 2 * minibatches
            # After every step, after the hook for edits, and when the update is over.
            assert calls["enforce_"] == minibatches + 2
            assert all(spent > 0 for spent, _ in hooks.values())
            assert not set(HOOKS) & set(vars(pruner))
    finally:
        for algorithm in algorithms.values():
            algorithm.stop()
