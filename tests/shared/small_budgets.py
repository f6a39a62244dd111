"""`prunefront` with budgets small enough to try what pages show; run as a script it is that command."""

import sys

# What a search takes where nothing else is said: a few iterations a member. CartPole needs more, or the
# front is empty and there is nothing to export.
HORIZONS = {"cartpole": 40_000}
HORIZON = 8_000
MEMBERS = 4
EPISODES = 10


def small(words: list[str]) -> list[str]:
    """A command's words with less to do: what is named last counts."""
    verb, *rest = words or [""]
    if verb == "search":
        horizon = next((n for name, n in HORIZONS.items() if any(name in w for w in rest)), HORIZON)
        return [verb, *rest, *_overrides(horizon)]
    if verb == "resume":
        more = [w for w in rest if w.startswith("budget.env_steps=")]
        kept = [w for w in rest if w not in more]
        return [verb, *kept, *(["budget.env_steps=180_000"] if more else [])]
    if verb in ("evaluate", "prune"):
        return [*words, "--episodes", str(EPISODES)]
    return words


def _overrides(horizon):
    return (
        f"budget.env_steps={MEMBERS * horizon}",
        f"budget.horizon={horizon}",
        f"population={{members: {MEMBERS}, segments: 2}}",
        # One process that trains: starting another takes longer than its share.
        "resources.slots=1",
        "evaluation.interval=5",
        "evaluation.episodes=3",
        "evaluation.candidates=6",
        f"evaluation.selection_episodes={EPISODES}",
        f"evaluation.report_episodes={EPISODES}",
        "evaluation.shift_episodes=4",
        "baselines={random_masks: 0, small_dense: 1, train_then_prune: 0, linear: 0, tree: 0}",
    )


if __name__ == "__main__":
    from search.cli import main

    sys.argv[1:] = small(sys.argv[1:])
    main()
