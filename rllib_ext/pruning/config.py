"""What to prune, how far, and when."""

from __future__ import annotations

import dataclasses
import difflib
import itertools
import math
import numbers
from collections.abc import Iterable, Mapping
from typing import Any, Literal, get_args

from rllib_ext.pruning.config_checks import check_choice, check_range
from rllib_ext.pruning.drawn import drawn_fields, possible
from rllib_ext.pruning.errors import ConfigError

Criterion = Literal[
    "magnitude",
    "magnitude_l2",
    "lamp",
    "gradient",
    "movement",
    "activation",
    "synflow",
    "sensitivity",
    "random",
]
Granularity = Literal["weight", "neuron", "layer", "branch"]
Scope = Literal["global", "layerwise", "erk"]
Schedule = Literal[
    "one_shot", "linear", "cubic", "cosine", "exponential", "iterative", "plateau", "constant"
]
ThresholdUnit = Literal["absolute", "std"]
Regrow = Literal["set", "rigl"]
Count = Literal["live", "kept"]
Start = Literal["dense", "narrow", "sparse"]
# For each layer, points (sparsity of the layer, damage) by rising sparsity.
Damage = tuple[tuple[str, tuple[tuple[float, float], ...]], ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class PruningConfig:
    """How a policy is pruned while it trains.

    With `final_sparsity` alone, n − round(s·n) of the n weights on the policy path are left at work at
    schedule value s; fewer where one weight takes others along, and never none. With `threshold` alone,
    weights whose score is below it go. With both, weights below the threshold go, but never more than
    the schedule's sparsity allows.

    Raises:
        ConfigError: A value is out of its range, or the values contradict each other.
    """

    final_sparsity: float | None = 0.9
    """Share of the policy path's weights that are zero at the end, in [0, 1). None: `threshold` alone
    says how far."""
    critic_final_sparsity: float = 0.0
    """The same for weights that only the critic uses, in [0, 1). Follows the same schedule; 0 leaves
    the critic dense."""
    threshold: float | None = None
    """Prune where score < threshold, ≥ 0. Under a schedule it rises from 0. None: none."""
    threshold_unit: ThresholdUnit = "absolute"
    """"absolute", or "std": multiples of a layer's standard deviation, of its weights under
    "magnitude", of its scores under the other criteria."""
    schedule: Schedule = "cubic"
    """How the sparsity (or the threshold) rises between `begin` and `end`; "plateau" raises it only
    while the evaluated return holds; "constant" has it from the first update."""
    begin: float = 0.2
    """Where the schedule starts, as a share of `horizon`, in [0, 1]."""
    end: float = 0.8
    """Where the schedule has reached its value, as a share of `horizon`, in [`begin`, 1]."""
    horizon: int | None = None
    """The training budget in env steps, > 0."""
    criterion: Criterion = "magnitude"
    """The importance score of a weight. "gradient", "movement" and "activation" are gathered in
    training, so with them nothing is pruned before the second update. Layers that don't train have no
    gradients: they go by magnitude, at the share of the others. "lamp" weighs magnitudes by what is
    left of their layer; "synflow" ranks by the paths through a weight, where it can follow them."""
    granularity: Granularity = "weight"
    """What is removed at a time: a weight; a "neuron" (hidden unit, convolution channel or recurrent
    unit) with all that reads it; a "layer" with a path around it; a "branch", such as one encoder of a
    dict observation. The coarser ones never exceed the sparsity."""
    scope: Scope = "global"
    """Where scores compete: over all layers, within each layer at the same sparsity, or within each
    layer at the densities of Erdős–Rényi-kernel. "global" can empty
    a layer that others lead around, and all but one path of the rest."""
    count: Count = "live"
    """Of single weights, which ones a sparsity counts. "live": those at work, on a path of kept weights
    from an observation to an action or a value; all others go with them, and what they added goes into
    biases. "kept": whatever the masks keep, as the literature counts. Networks whose coupling can't be
    found are counted so too, with a warning."""
    exclude: tuple[str, ...] = ()
    """Layers that stay dense, as shell patterns over parameter names ("pi.*"), each of which matches
    one at least. So do the units of which such a layer holds a part."""
    start: Start = "dense"
    """What a fresh network begins with. "dense": all of its weights. "narrow": a small dense network;
    whole hidden units of the policy path are masked before the first step, every layer by the same
    factor. "sparse": single weights of the policy path, drawn so that they connect, at the densities of
    Erdős–Rényi-kernel. What is left is initialised for the inputs that it has, and the schedule rises
    from there. What starts from weights that were trained, such as a clone, keeps theirs."""
    start_density: float | None = None
    """Share of the policy path's weights that "narrow" and "sparse" begin with, in (0, 1]; "narrow" with
    the fewest units that hold as many, one a layer at least. Where it is below 1 − `final_sparsity`, the
    schedule prunes nothing. None: as many as `final_sparsity` leaves."""
    step: float = 0.05
    """Sparsity (or share of the threshold) that "plateau" adds at a time, in (0, 1]."""
    min_step: float = 0.005
    """The step below which "plateau" ends, in (0, `step`]."""
    patience: int = 5
    """Evaluations for which "plateau" waits for the return to recover, ≥ 0."""
    tolerance: float = 0.05
    """Return that "plateau" may lose in all, as a share of (reference − random return), in [0, 1]. The
    reference is the best mean of several evaluations; it never sinks. A level is accepted after 3 to 5
    evaluations that leave hardly a doubt, so their noise should be smaller than what may be lost:
    average more episodes where it isn't."""
    random_return: float | None = None
    """Mean return of a policy that acts at random; "plateau" needs it. None: it is measured when
    training starts."""
    window: int = 32
    """Minibatches over which "gradient" and "activation" average, and "rigl" its gradients (1 is the
    paper's), ≥ 1."""
    damage: Damage = ()
    """For "sensitivity": for each layer of the policy path (and of the critic, where it has a target)
    points (sparsity of the layer, damage), such as `rllib_ext.policy.sensitivity.measure_sensitivity`
    measures; a mapping or pairs."""
    round_share: float = 0.2
    """Share of the remaining weights that a round of "iterative" removes, in (0, 1). Rounds are spread
    evenly, the last one at `end`."""
    rewind_to: float | None = None
    """Share of the horizon, in [0, `begin`], to whose weights the surviving ones return after each
    round of "iterative", all of the network's parameters and with fresh optimizer moments; 0: the
    initial ones. None: weights go on from where they are."""
    regrow: Regrow | None = None
    """Dynamic sparse training: with the schedule "constant" the network starts with random masks, and
    between `begin` and `end` weak weights are exchanged for others: "set" at random, "rigl" by
    gradient. What a clone prunes beyond its donor goes by `criterion`. None: what is pruned stays
    pruned."""
    regrow_share: float = 0.3
    """Share of the kept weights that is exchanged at `begin`, in (0, 1); it falls to 0 at `end` by a
    cosine."""
    regrow_interval: float = 0.01
    """Share of the horizon between two exchanges, in (0, 1]; at most one an update."""
    lr_restart: float = 1.0
    """By what the learning rate is multiplied when trained weights have gone, ≥ 1; it falls back
    linearly to what its own schedule says. Where weights go in every update, it stays up. 1: never."""
    lr_restart_span: float = 0.05
    """Share of the horizon over which it falls back, in (0, 1]."""
    distil: float = 0.0
    """Weight in the loss of the divergence KL(teacher ‖ policy) on the policy's own observations, ≥ 0.
    The teacher is the policy that training begins with (`init_checkpoint`). 0: none."""
    distil_until: float = 1.0
    """Share of the horizon at which that weight, falling linearly, has come to 0, in (0, 1]."""

    def __post_init__(self) -> None:
        if drawn_fields(self):
            possible(self)
            return
        _check_kinds(self)
        object.__setattr__(self, "exclude", tuple(self.exclude))
        object.__setattr__(self, "damage", _as_damage(self.damage))
        for name, choices in _CHOICES.items():
            check_choice(name, getattr(self, name), choices)
        if self.final_sparsity is None and self.threshold is None:
            raise ConfigError(
                "pruning: neither final_sparsity nor threshold is given, so there is no saying how "
                "far to prune. Give one of them, or both."
            )
        if self.final_sparsity is not None:
            check_range("final_sparsity", self.final_sparsity, 0.0, 1.0, high_open=True)
        check_range("critic_final_sparsity", self.critic_final_sparsity, 0.0, 1.0, high_open=True)
        if self.threshold is not None:
            check_range("threshold", self.threshold, 0.0, math.inf, high_open=True)
        if self.start_density is not None:
            check_range("start_density", self.start_density, 0.0, 1.0, low_open=True)
        check_range("begin", self.begin, 0.0, 1.0)
        check_range("end", self.end, 0.0, 1.0)
        if self.begin > self.end:
            raise ConfigError(
                f"pruning: begin = {self.begin} lies after end = {self.end}. Both are shares of the "
                "horizon; expected begin <= end, for example begin=0.2, end=0.8."
            )
        if self.horizon is not None and self.horizon <= 0:
            raise ConfigError(f"pruning: horizon = {self.horizon}; expected env steps above 0.")
        check_range("step", self.step, 0.0, 1.0, low_open=True)
        check_range("min_step", self.min_step, 0.0, self.step, low_open=True)
        check_range("tolerance", self.tolerance, 0.0, 1.0)
        if self.patience < 0:
            raise ConfigError(
                f"pruning: patience = {self.patience}; expected 0 or more evaluations."
            )
        if self.window < 1:
            raise ConfigError(f"pruning: window = {self.window}; expected 1 or more minibatches.")
        check_range("round_share", self.round_share, 0.0, 1.0, low_open=True, high_open=True)
        check_range("regrow_share", self.regrow_share, 0.0, 1.0, low_open=True, high_open=True)
        check_range("regrow_interval", self.regrow_interval, 0.0, 1.0, low_open=True)
        check_range("lr_restart", self.lr_restart, 1.0, math.inf, high_open=True)
        check_range("lr_restart_span", self.lr_restart_span, 0.0, 1.0, low_open=True)
        check_range("distil", self.distil, 0.0, math.inf, high_open=True)
        check_range("distil_until", self.distil_until, 0.0, 1.0, low_open=True)
        if self.rewind_to is not None:
            check_range("rewind_to", self.rewind_to, 0.0, self.begin)
        self._refuse_contradictions()

    def _refuse_contradictions(self) -> None:
        if self.schedule == "iterative" and self.final_sparsity is None:
            raise ConfigError(
                "pruning: schedule='iterative' removes a share of the remaining weights a round, but "
                "final_sparsity is None, so there is no last round. Give final_sparsity."
            )
        if self.rewind_to is not None and self.schedule != "iterative":
            raise ConfigError(
                f"pruning: rewind_to = {self.rewind_to}, but schedule = {self.schedule!r} has no "
                "rounds to rewind after. Set schedule='iterative', or leave rewind_to out."
            )
        if self.regrow is not None and self.schedule != "constant":
            raise ConfigError(
                f"pruning: regrow = {self.regrow!r} keeps the sparsity constant, but schedule = "
                f"{self.schedule!r} raises it. Set schedule='constant', or leave regrow out."
            )
        if self.regrow is not None and (self.final_sparsity is None or self.threshold is not None):
            raise ConfigError(
                f"pruning: regrow = {self.regrow!r} exchanges weights at a given sparsity; expected "
                "final_sparsity and no threshold."
            )
        if self.regrow is not None and self.granularity != "weight":
            raise ConfigError(
                f"pruning: regrow = {self.regrow!r} exchanges single weights, but granularity = "
                f"{self.granularity!r} removes whole groups. Set granularity='weight', or leave regrow "
                "out."
            )
        if self.start == "sparse" and self.granularity != "weight":
            raise ConfigError(
                f"pruning: start = 'sparse' masks single weights, but granularity = "
                f"{self.granularity!r} removes whole groups. Set granularity='weight', or "
                "start='narrow'."
            )
        if self.start != "dense" and self.final_sparsity is None and self.start_density is None:
            raise ConfigError(
                f"pruning: start = {self.start!r}, but neither start_density nor final_sparsity says "
                "how many weights it begins with. Give start_density."
            )
        if self.criterion == "sensitivity" and not self.damage:
            raise ConfigError(
                "pruning: criterion='sensitivity' ranks layers by what was measured, but damage is "
                "empty. Give it damage=measure_sensitivity(...).damage()."
            )

    @property
    def starting_sparsity(self) -> float:
        """Share of the policy path's weights that a fresh network begins without, in [0, 1)."""
        if self.start == "dense":
            return 0.0
        if self.start_density is not None:
            return 1.0 - self.start_density
        assert self.final_sparsity is not None, "checked when it was made"
        return self.final_sparsity

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> PruningConfig:
        """Builds a configuration from plain values, naming a misspelt key.

        Raises:
            ConfigError: A key is unknown, or a value is out of range.
        """
        known = [field.name for field in dataclasses.fields(cls)]
        for key in values:
            if key not in known:
                near = difflib.get_close_matches(str(key), known, n=1)
                hint = (
                    f" Did you mean {near[0]!r}?" if near else f" Known keys: {', '.join(known)}."
                )
                raise ConfigError(f"pruning: unknown key {key!r}.{hint}")
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """Plain values that `from_dict` turns back into an equal configuration."""
        return dataclasses.asdict(self)

    def replace(self, **changes: Any) -> PruningConfig:
        """A copy with some values changed.

        Raises:
            ConfigError: A value is wrong, or a key unknown.
        """
        return dataclasses.replace(self, **changes)


_CHOICES: dict[str, tuple[str | None, ...]] = {
    "criterion": get_args(Criterion),
    "granularity": get_args(Granularity),
    "scope": get_args(Scope),
    "schedule": get_args(Schedule),
    "threshold_unit": get_args(ThresholdUnit),
    "regrow": (*get_args(Regrow), None),
    "count": get_args(Count),
    "start": get_args(Start),
}


def _check_kinds(config: PruningConfig) -> None:
    for field in dataclasses.fields(config):
        kind, _, none = str(field.type).partition(" | ")
        value = getattr(config, field.name)
        if kind not in _NUMBERS or (value is None and none):
            continue
        number, expected = _NUMBERS[kind]
        if isinstance(value, bool) or not isinstance(value, number):
            raise ConfigError(f"pruning: {field.name} = {value!r}; expected {expected}.")
    patterns: Any = config.exclude
    if isinstance(patterns, str) or not all(isinstance(p, str) for p in _items(patterns)):
        raise ConfigError(
            f"pruning: exclude = {patterns!r}; expected a list of patterns, such as ['pi.*']."
        )


_NUMBERS: dict[str, tuple[type, str]] = {
    "float": (numbers.Real, "a number"),
    "int": (numbers.Integral, "a whole number"),
}


def _items(value: Any) -> Iterable[Any]:
    return value if isinstance(value, Iterable) else (value,)


def _as_damage(given: Any) -> Damage:
    pairs = given.items() if isinstance(given, Mapping) else given
    try:
        damage = tuple(
            (str(layer), tuple((float(x), float(y)) for x, y in points)) for layer, points in pairs
        )
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"pruning: damage = {given!r}; expected for each layer points (sparsity, damage)."
        ) from error
    for layer, points in damage:
        xs = [0.0, *(x for x, _ in points)]
        rising = len(xs) > 1 and all(a < b for a, b in itertools.pairwise(xs)) and xs[-1] <= 1.0
        if not rising or not all(math.isfinite(y) and y >= 0.0 for _, y in points):
            raise ConfigError(
                f"pruning: damage of {layer!r} = {list(points)}; expected points (sparsity, damage) "
                "with rising sparsity in (0, 1] and finite damage of 0 or more."
            )
    return damage
