"""The RLlib Learner that prunes its module and keeps the masks exact after every optimizer step."""

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
    """Mixin that prunes the module at the start of an update and keeps the masks exact within it.

    It comes before a PPO torch Learner class in the list of bases, and reads its `PruningConfig` from
    `learner_config_dict["pruning"]`. Masks, schedule, clock and what RLlib doesn't save – the KL
    coefficient, torch's learning rate schedulers and the reward scale – are Learner state, and so part
    of every checkpoint and every clone.

    Attributes:
        pruner: Decides what is pruned, and prunes it.
        connectors: State of the EnvRunners' connectors at the end of the last iteration, with which the
            policy has been evaluated since; None before the callback stores it for the first time.
        returning: Connector state that the callback restores after a roll-back or a rewind, or None.
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
            # All of them: an optimizer registered for all modules may hold this one's moments.
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
        # Before RLlib sends the weights to the EnvRunners. A restored state replaces this one.
        self.pruner.begin_()

    def update(self, *args: Any, **kwargs: Any) -> Any:
        """Runs RLlib's update, then masks the weights again in case hooks of a subclass changed them."""
        result = cast(Any, super()).update(*args, **kwargs)
        self.pruner.enforce_()
        return result

    def _update(self, *args: Any, **kwargs: Any) -> Any:
        # Other forward passes, such as the critic's for the advantages, aren't over minibatches.
        with self.pruner.gatherer.listening():
            return cast(Any, super())._update(*args, **kwargs)

    def before_gradient_based_update(self, *, timesteps: dict[str, Any]) -> None:
        """Applies the pruning decision first, so that the whole update uses the same masks."""
        super().before_gradient_based_update(timesteps=timesteps)  # type: ignore[misc]
        self._pruned_now = self.pruner.before_update(
            int(timesteps.get(NUM_ENV_STEPS_SAMPLED_LIFETIME, 0))
        )
        self._rates.raise_(self.pruner.rate_factor)

    def learn_from(self, weights: Mapping[str, Any]) -> None:
        """Sets the teacher: the same network with the given weights, by parameter name."""
        module = cast(Any, self).module[DEFAULT_MODULE_ID].unwrapped()
        self._teacher = Teacher(module, weights)

    def compute_loss_for_module(
        self, *, module_id: str, config: Any, batch: dict[str, Any], fwd_out: dict[str, Any]
    ) -> Any:
        """Returns PPO's loss plus, if distillation is configured, the divergence from the teacher."""
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
        """Passes the gradients to the criterion and masks them, before they are clipped."""
        self.pruner.observe_gradients(gradients_dict.items(), scale=self._loss_scale)
        self.pruner.mask_gradients_(gradients_dict.items())
        clipped: dict[Any, Any] = super().postprocess_gradients(gradients_dict)  # type: ignore[misc]
        return clipped

    def apply_gradients(self, gradients_dict: dict[Any, Any]) -> None:
        """Steps the optimizers, then zeroes masked weights again."""
        # Again: gradients that a user's class added while postprocessing would stay in the moments.
        self.pruner.mask_gradients_(gradients_dict.items())
        super().apply_gradients(gradients_dict)  # type: ignore[misc]
        self.pruner.enforce_()

    def after_gradient_based_update(self, *, timesteps: dict[str, Any]) -> None:
        """Masks weights that RLlib's hook may have edited; rolls back or rewinds if that is due."""
        self._rates.lower_()
        super().after_gradient_based_update(timesteps=timesteps)  # type: ignore[misc]
        self.pruner.enforce_()
        self.pruner.after_update()

    def _update_module_kl_coeff(self, *, module_id: str, config: Any, kl_loss: float) -> None:
        # The divergence of an update that pruned measures the pruning, not the step size.
        if not self._pruned_now:
            super()._update_module_kl_coeff(  # type: ignore[misc]
                module_id=module_id, config=config, kl_loss=kl_loss
            )

    def get_state(
        self, components: Any = None, *, not_components: Any = None, **kwargs: Any
    ) -> dict[str, Any]:
        """Returns RLlib's state, with masks, schedule, clock and what else RLlib doesn't save."""
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
        """Restores a state; hyperparameters stay those of this Learner's own configuration."""
        super().set_state(state)  # type: ignore[misc]
        if KL_COEFF_KEY in state:
            self._kl_coefficients().write(state[KL_COEFF_KEY])
        if REWARDS_KEY in state:
            self._set_rewards_state(state[REWARDS_KEY])
            self.connectors = copy.deepcopy(state[CONNECTORS_KEY])
        if PRUNING_KEY in state:
            self.pruner.load_state_dict(state[PRUNING_KEY])
        elif COMPONENT_OPTIMIZER in state and self.pruner.env_steps == 0:
            # A checkpoint of plain PPO: its weights replace the initial ones.
            self.pruner.begin_trained_()
        else:
            # Weights without masks, as from `set_weights`, are masked by those in force.
            self.pruner.enforce_()
        if COMPONENT_OPTIMIZER in state:
            self._rates.load_state_dict(state.get(LEARNING_RATES_KEY))
            self.use_configured_schedules()

    def _side(self) -> Coefficients:
        """Returns access to the values that are restored with the weights, beside the pruner's own."""
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
                # It didn't exist at that time: RLlib creates it again, as configured.
                del current[name]
            for name, value in values.items():
                current[name].fill_(value)

        return Coefficients(read, write)

    def use_configured_schedules(self) -> None:
        """Sets learning rates and entropy bonus to the configured values at the lineage's clock.

        RLlib would begin with the donor's rates, and with the first value of the bonus.
        """
        learner: Any = self
        self._rates.use_configured_(self.pruner.env_steps)
        bonus = learner.entropy_coeff_schedulers_per_module[DEFAULT_MODULE_ID]
        bonus.update(timestep=self.pruner.env_steps)

    @property
    def _loss_scale(self) -> float:
        """Factor by which a GradScaler has multiplied the loss of the current gradients, or 1."""
        scalers = cast(Any, self)._grad_scalers
        return 1.0 if scalers is None else float(scalers[DEFAULT_MODULE_ID].get_scale())


class PruningPPOTorchLearner(PruningLearnerMixin, PPOTorchLearner):
    """RLlib's PPO Learner with pruning."""


def with_pruning_mixin(learner_class: type[Learner]) -> type[Learner]:
    """Returns the given Learner class with pruning added, or the class itself if it prunes already."""
    if issubclass(learner_class, PruningLearnerMixin):
        return learner_class
    if learner_class is PPOTorchLearner:
        return PruningPPOTorchLearner
    return type(f"Pruning{learner_class.__name__}", (PruningLearnerMixin, learner_class), {})


def _broadcast_from_first(mask: torch.Tensor) -> None:
    torch.distributed.broadcast(mask, src=0)
