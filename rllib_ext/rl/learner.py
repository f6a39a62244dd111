"""The Learner that keeps masks exact after every optimizer step."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, cast

import torch
from ray.rllib.algorithms.ppo.torch.ppo_torch_learner import PPOTorchLearner
from ray.rllib.core import COMPONENT_OPTIMIZER, DEFAULT_MODULE_ID
from ray.rllib.core.learner.learner import Learner
from ray.rllib.utils.metrics import NUM_ENV_STEPS_SAMPLED_LIFETIME

from rllib_ext.pruning.config import PruningConfig
from rllib_ext.pruning.drawn import refuse_undrawn
from rllib_ext.pruning.errors import ConfigError
from rllib_ext.pruning.schedule.distillation import teaching_weight
from rllib_ext.pruning.structure.graph import trace
from rllib_ext.pruning.training.pruner import Pruner
from rllib_ext.pruning.training.side import Coefficients
from rllib_ext.rl.learning_rates import LearningRates
from rllib_ext.rl.lost_pruning import PRUNING_KEY, KeepsMasks, refuse_lost_pruning
from rllib_ext.rl.module.critic import critic_names
from rllib_ext.rl.module.initial import constants_of
from rllib_ext.rl.module.probing import probe_of
from rllib_ext.rl.preprocess.scale_rewards import ScaleRewards
from rllib_ext.rl.teaching import TEACHING_LOSS, Teacher

KL_COEFF_KEY = "kl_coeff"
LEARNING_RATES_KEY = "learning_rates"
REWARDS_KEY = "reward_scaling"
CONNECTORS_KEY = "connectors"


class PruningLearnerMixin(KeepsMasks):
    """Prunes the module at the start of an update and keeps masks exact within it.

    Stands before a PPO torch Learner class in the bases. Reads its `PruningConfig` from
    `learner_config_dict["pruning"]`. Masks, schedule, clock and what RLlib forgets – the KL coefficient,
    torch's learning rate schedulers and the scale of rewards – are Learner state: they travel with every
    checkpoint and every clone.

    Attributes:
        pruner: Decides and prunes.
        connectors: The state of the EnvRunners' connectors when the last iteration ended, as the
            callback noted it: what the policy was evaluated with since. None before it did.
        returning: A state of them that comes back with the policy: the callback puts it in force.
    """

    pruner: Pruner
    connectors: dict[str, Any] | None
    returning: dict[str, Any] | None
    _pruned_now: bool
    _rates: LearningRates
    _teacher: Teacher | None

    def build(self) -> None:
        """Builds the Learner, then finds the module's prunable weights."""
        learner: Any = self
        refuse_lost_pruning(learner.config)
        pruning = PruningConfig.from_dict(learner.config.learner_config_dict[PRUNING_KEY])
        refuse_undrawn(pruning)
        super().build()  # type: ignore[misc]
        module = learner.module[DEFAULT_MODULE_ID].unwrapped()
        self._pruned_now = False
        self.connectors = self.returning = None
        self._rates = LearningRates(learner)
        self._teacher = None
        self.pruner = Pruner(
            module,
            # Whichever module they are registered for: one of all modules may hold this one's moments.
            lambda: list(learner._named_optimizers.values()),
            pruning,
            critic_prefixes=critic_names(module),
            seed=learner.config.seed or 0,
            synchronise=_broadcast_from_first if learner.distributed else None,
            graph=lambda: trace(module, probe_of(module)),
            probe=probe_of(module),
            coefficients=self._side(),
            constants=constants_of(module),
        )
        self.pruner.gatherer.listens = False
        # Before RLlib gives the weights to the EnvRunners. What is restored replaces it.
        self.pruner.begin_()

    def update(self, *args: Any, **kwargs: Any) -> Any:
        """RLlib's update, after which masks hold whatever hooks of a subclass did to the weights."""
        result = cast(Any, super()).update(*args, **kwargs)
        self.pruner.enforce_()
        return result

    def _update(self, *args: Any, **kwargs: Any) -> Any:
        # Other passes, such as the critic's for the advantages, aren't a minibatch's.
        with self.pruner.gatherer.listening():
            return cast(Any, super())._update(*args, **kwargs)

    def before_gradient_based_update(self, *, timesteps: dict[str, Any]) -> None:
        """Applies the decision for this update, so that all that follows shows the same masks."""
        super().before_gradient_based_update(timesteps=timesteps)  # type: ignore[misc]
        self._pruned_now = self.pruner.before_update(
            int(timesteps.get(NUM_ENV_STEPS_SAMPLED_LIFETIME, 0))
        )
        self._rates.raise_(self.pruner.rate_factor)

    def learn_from(self, weights: Mapping[str, Any]) -> None:
        """Makes the policy with some weights, by parameter name, the teacher."""
        module = cast(Any, self).module[DEFAULT_MODULE_ID].unwrapped()
        self._teacher = Teacher(module, weights)

    def compute_loss_for_module(
        self, *, module_id: str, config: Any, batch: dict[str, Any], fwd_out: dict[str, Any]
    ) -> Any:
        """PPO's loss, and the divergence from the teacher where one is asked for."""
        loss: Any = super().compute_loss_for_module(  # type: ignore[misc]
            module_id=module_id, config=config, batch=batch, fwd_out=fwd_out
        )
        weight = teaching_weight(self.pruner.config, self.pruner.progress)
        if weight == 0.0:
            return loss
        if self._teacher is None:
            raise ConfigError(
                f"pruning: distil = {self.pruner.config.distil}, but nobody gave the Learner a teacher. "
                "In a search give init_checkpoint; elsewhere begin with "
                "rllib_ext.checkpoint.warm_start.start_from, or set distil=0."
            )
        divergence = self._teacher.divergence(batch, fwd_out)
        learner: Any = self
        learner.metrics.log_value((module_id, TEACHING_LOSS), divergence, window=1)
        return loss + weight * divergence

    def postprocess_gradients(self, gradients_dict: dict[Any, Any]) -> dict[Any, Any]:
        """Shows the gradients to the criterion and masks them, before they are clipped."""
        self.pruner.observe_gradients(gradients_dict.items(), scale=self._loss_scale)
        self.pruner.mask_gradients_(gradients_dict.items())
        clipped: dict[Any, Any] = super().postprocess_gradients(gradients_dict)  # type: ignore[misc]
        return clipped

    def apply_gradients(self, gradients_dict: dict[Any, Any]) -> None:
        """Steps the optimizers, then zeroes masked weights again."""
        # Once more: what a user's class added while it postprocessed would stay as moments.
        self.pruner.mask_gradients_(gradients_dict.items())
        super().apply_gradients(gradients_dict)  # type: ignore[misc]
        self.pruner.enforce_()

    def after_gradient_based_update(self, *, timesteps: dict[str, Any]) -> None:
        """Masks what RLlib's hook for edits of weights made; rolls back, or rewinds, where it is due."""
        self._rates.lower_()
        super().after_gradient_based_update(timesteps=timesteps)  # type: ignore[misc]
        self.pruner.enforce_()
        self.pruner.after_update()

    def _update_module_kl_coeff(self, *, module_id: str, config: Any, kl_loss: float) -> None:
        # The divergence of a pruning update speaks of the pruning, not of the step size.
        if not self._pruned_now:
            super()._update_module_kl_coeff(  # type: ignore[misc]
                module_id=module_id, config=config, kl_loss=kl_loss
            )

    def get_state(
        self, components: Any = None, *, not_components: Any = None, **kwargs: Any
    ) -> dict[str, Any]:
        """RLlib's state, with masks, schedule, clock and KL coefficient."""
        learner: Any = self
        state: dict[str, Any] = super().get_state(  # type: ignore[misc]
            components, not_components=not_components, **kwargs
        )
        if learner._check_component(PRUNING_KEY, components, not_components):
            state[PRUNING_KEY] = self.pruner.state_dict()
            state[KL_COEFF_KEY] = self._kl_coefficients().read()
            state[LEARNING_RATES_KEY] = self._rates.state_dict()
            state[REWARDS_KEY] = self._rewards_state()
            state[CONNECTORS_KEY] = copy.deepcopy(self.connectors)
        return state

    def set_state(self, state: dict[str, Any]) -> None:
        """Restores; hyperparameters stay those of this Learner's own configuration."""
        super().set_state(state)  # type: ignore[misc]
        if KL_COEFF_KEY in state:
            self._kl_coefficients().write(state[KL_COEFF_KEY])
        if REWARDS_KEY in state:
            self._set_rewards_state(state[REWARDS_KEY])
            self.connectors = copy.deepcopy(state[CONNECTORS_KEY])
        if PRUNING_KEY in state:
            self.pruner.load_state_dict(state[PRUNING_KEY])
        elif COMPONENT_OPTIMIZER in state and self.pruner.env_steps == 0:
            # A checkpoint of plain PPO: its weights take the place of fresh ones.
            self.pruner.begin_trained_()
        else:
            # Weights that come without masks, as from `set_weights`, come under those in force.
            self.pruner.enforce_()
        if COMPONENT_OPTIMIZER in state:
            self._rates.load_state_dict(state.get(LEARNING_RATES_KEY))
            self.use_configured_schedules()

    def _side(self) -> Coefficients:
        """What goes back with the weights beside those of the pruner."""
        coefficients = self._kl_coefficients()

        def read() -> dict[str, Any]:
            return {
                "kl_coefficients": coefficients.read(),
                "rewards": self._rewards_state(),
                "connectors": self.connectors,
            }

        def write(values: Mapping[str, Any]) -> None:
            coefficients.write(values["kl_coefficients"])
            self._set_rewards_state(values["rewards"])
            self.returning = values["connectors"]

        return Coefficients(read, write)

    def _rewards_state(self) -> dict[str, Any]:
        return next((c.get_state() for c in self._scaling()), {})

    def _set_rewards_state(self, state: dict[str, Any]) -> None:
        for connector in self._scaling():
            connector.set_state(state)

    def _scaling(self) -> list[ScaleRewards]:
        pipeline = cast(Any, self)._learner_connector
        return [c for c in getattr(pipeline, "connectors", ()) if isinstance(c, ScaleRewards)]

    def _kl_coefficients(self) -> Coefficients:
        learner: Any = self

        def read() -> dict[str, float]:
            return {name: float(v) for name, v in learner.curr_kl_coeffs_per_module.items()}

        def write(values: Mapping[str, float]) -> None:
            current = learner.curr_kl_coeffs_per_module
            for name in current.keys() - values.keys():
                # Nobody had asked for it then: it is made anew, as configured.
                del current[name]
            for name, value in values.items():
                current[name].fill_(value)

        return Coefficients(read, write)

    def use_configured_schedules(self) -> None:
        """Sets learning rates and entropy bonus to what the configuration gives at the lineage's clock.

        RLlib would begin with the donor's rates, and with the first value of the bonus.
        """
        learner: Any = self
        self._rates.use_configured_(self.pruner.env_steps)
        bonus = learner.entropy_coeff_schedulers_per_module[DEFAULT_MODULE_ID]
        bonus.update(timestep=self.pruner.env_steps)

    @property
    def _loss_scale(self) -> float:
        """By what a GradScaler has multiplied the loss whose gradients are at hand."""
        scalers = cast(Any, self)._grad_scalers
        return 1.0 if scalers is None else float(scalers[DEFAULT_MODULE_ID].get_scale())


class PruningPPOTorchLearner(PruningLearnerMixin, PPOTorchLearner):
    """RLlib's PPO Learner with pruning."""


def with_pruning_mixin(learner_class: type[Learner]) -> type[Learner]:
    """The given Learner class with pruning composed in; unchanged where it has it already."""
    if issubclass(learner_class, PruningLearnerMixin):
        return learner_class
    if learner_class is PPOTorchLearner:
        return PruningPPOTorchLearner
    return type(f"Pruning{learner_class.__name__}", (PruningLearnerMixin, learner_class), {})


def _broadcast_from_first(mask: torch.Tensor) -> None:
    torch.distributed.broadcast(mask, src=0)
