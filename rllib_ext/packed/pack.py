"""A pack: P members that train in one process, each with its own everything but the batch's size."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ray.rllib.algorithms.ppo import PPOConfig

from rllib_ext.checkpoint.warm_start import Initial
from rllib_ext.evaluation.evaluator import Episodes
from rllib_ext.packed.adam import StackedAdam
from rllib_ext.packed.blueprint import blueprint_of
from rllib_ext.packed.distributions import distribution_for
from rllib_ext.packed.draws import Draws
from rllib_ext.packed.evaluation import PackedEvaluator
from rllib_ext.packed.filters import Filters
from rllib_ext.packed.hyperparameters import adapted, stacked
from rllib_ext.packed.loss import DIVERGENCE, Losses
from rllib_ext.packed.member import Member
from rllib_ext.packed.minibatch_order import MinibatchOrder
from rllib_ext.packed.network import StackedNetwork, rows_of
from rllib_ext.packed.policies import Policies
from rllib_ext.packed.pruning import PackedPruning
from rllib_ext.packed.rewards import Rewards
from rllib_ext.packed.rollout import Collector, Rollout, batch_of
from rllib_ext.packed.starting import Starter
from rllib_ext.packed.state import MemberState
from rllib_ext.packed.teachers import Teachers
from rllib_ext.packed.update import update
from rllib_ext.packed.vectorize import build_environments
from rllib_ext.policy.store import PolicyParts
from rllib_ext.pruning.config import PruningConfig
from rllib_ext.pruning.errors import ConfigError, RunError, ScoreError


class Pack:
    """P members that are stepped and trained together in one process.

    Args:
        ppo: PPO configuration shared by all members; its `training` values are each member's defaults.
        members: P, ≥ 1.
        dtype: Number format of weights.
        device: Device of the weights; by default a GPU if `ppo` gives the learner one.

    Raises:
        ConfigError: Members with this configuration can't be packed, or there is no GPU.
    """

    def __init__(
        self,
        ppo: PPOConfig,
        members: int,
        *,
        dtype: torch.dtype = torch.float32,
        device: str = "",
    ) -> None:
        if members < 1:
            raise ConfigError(f"a pack of {members} members; expected 1 or more.")
        self._blueprint = blueprint_of(ppo)
        self._dtype, self._device = dtype, device or self._blueprint.device
        if self._device == "cuda" and not torch.cuda.is_available():
            raise ConfigError(
                "resources.gpus_per_member asks for a GPU, but torch sees none where the pack runs. "
                "Install torch for CUDA there, or set it to 0."
            )
        modules = [self._module(i) for i in range(members)]
        computation = self._blueprint.computation.for_module(modules[0])
        self.network = StackedNetwork(modules, computation)
        self.adam = StackedAdam(self.network)
        self.pruning = PackedPruning(self.network, self.adam)
        self._teachers = Teachers(self.network)
        self.members: list[Member | None] = [None] * members
        shape = self._blueprint.observation_shape
        self._filters = Filters(self._blueprint.filter, members, shape)
        self._rewards = Rewards(self._blueprint.rewards, members, self._blueprint.envs)
        self._distribution = distribution_for(discrete=self.network.computation.discrete)
        self._draws = Draws(members, self._device)
        self._environments = build_environments(
            self._blueprint.make_env, members, self._blueprint.envs, self._blueprint.vectorize
        )
        self._collector = Collector(
            self.network,
            self._distribution,
            self._environments,
            self._blueprint.action_space,
            self._blueprint.steps,
            self._filters,
            self._draws,
            frames=self._blueprint.frames,
            unsquash=bool(ppo.normalize_actions),
            clip=bool(ppo.clip_actions),
        )
        self._starter = Starter(
            blueprint=self._blueprint,
            module=self._module,
            members=self.members,
            network=self.network,
            adam=self.adam,
            pruning=self.pruning,
            teachers=self._teachers,
            filters=self._filters,
            rewards=self._rewards,
            draws=self._draws,
            collector=self._collector,
        )
        self._policies = Policies(self._blueprint, self.network, self._filters)
        self._evaluator = PackedEvaluator(self._blueprint, self.network, self._filters)

    @property
    def steps(self) -> int:
        """Env steps of a member in an iteration."""
        return self._collector.env_steps

    def start(
        self,
        member: int,
        *,
        training: Mapping[str, Any],
        pruning: PruningConfig,
        seed: int,
        state: MemberState | None = None,
        initial: Initial | None = None,
    ) -> None:
        """Starts a member in a place of the pack, and replaces the one that was there.

        Args:
            member: The place, 0 to P − 1.
            training: The member's own arguments of `PPOConfig.training`.
            pruning: Pruning configuration, with `horizon` set.
            seed: Fixes its first weights and all that is drawn for it, whoever else is in the pack.
            state: State that it continues from, with its own hyperparameters; None starts from
                `initial`.
            initial: Trained network to start from if `state` is None; None means fresh weights.

        Raises:
            ConfigError: A hyperparameter can't be a member's own, or the network can't be pruned so.
            CheckpointError: The state is another network's.
        """
        self._starter.start(
            member, training=training, pruning=pruning, seed=seed, state=state, initial=initial
        )

    def stop(self, member: int) -> None:
        """Frees a place: what is there isn't trained any more."""
        self.members[member] = None

    def train(self) -> dict[int, dict[str, Any]]:
        """One iteration: a rollout of every member, then its update.

        Returns:
            For each member that was whole before: "env_steps", the lineage's clock; "iteration";
            "env_steps_this_iter"; "pruning", as the Pruner reports it; "env_runners", with
            "episode_return_mean" (NaN where no episode ended); "learners", the losses of the last
            minibatch; "failure", "" while the member is whole.

        Raises:
            RunError: No member is left to train.
        """
        training = {i: m for i, m in enumerate(self.members) if m is not None and not m.failure}
        if not training:
            raise RunError("the pack has no member to train. Start one first.")
        rollout = self._collector.collect()
        pruned = {}
        for i, member in training.items():
            member.env_steps += self._collector.env_steps
            member.iteration += 1
            pruned[i] = self._prune(i, member)
        whole = [i for i, m in training.items() if not m.failure]
        learned = self._learn(rollout, whole).by_member() if whole else []
        for i, losses in zip(whole, learned, strict=True):
            member = training[i]
            own = member.hyperparameters
            # The divergence of a pruning update speaks of the pruning, not of the step size.
            if own.use_kl_loss and not pruned[i]:
                member.kl_coeff = adapted(member.kl_coeff, losses[DIVERGENCE], own.kl_target)
            self.pruning.after_update(i)
            member.filter = self._filters.state(i)
        finite = torch.isfinite(self.network.weights).all(dim=1).tolist()
        for i in whole:
            if not finite[i]:
                training[i].failure = "weights are not finite"
        losses_of = dict(zip(whole, learned, strict=True))
        return {
            i: self._result(i, member, rollout, losses_of.get(i, {}))
            for i, member in training.items()
        }

    def observe(self, member: int, evaluated_return: float) -> None:
        """Takes the mean return of a member's policy as it is now, for the next decision."""
        self.pruning.pruner(member).observe(evaluated_return)

    def state(self, member: int) -> MemberState:
        """A copy of all that a member is, but for its hyperparameters."""
        return MemberState.take(
            self.network,
            self.adam,
            member,
            pruning=self.pruning.pruner(member).state_dict(),
            kl_coeff=self._member(member).kl_coeff,
            iteration=self._member(member).iteration,
            filter=self._filters.state(member),
            rewards=self._rewards.state(member),
        )

    def policy(self, member: int) -> PolicyParts:
        """A member's policy, as RLlib's EnvRunners would have it: a copy."""
        return self._policies.of(member)

    def save_policy(self, member: int, folder: Path, metadata: Mapping[str, Any]) -> None:
        """Writes a member's policy as it is now, as `rllib_ext.policy.store.PolicyParts.save` does.

        Args:
            member: Whose.
            folder: Destination folder; replaced if it exists.
            metadata: Plain values that go beside it.
        """
        self._policies.save(member, self.pruning.pruner(member).masks, folder, metadata)

    def evaluate(self, seeds: Mapping[int, Sequence[int]]) -> dict[int, Episodes]:
        """Fresh deterministic episodes of some members' policies as they are now.

        Args:
            seeds: For each of these members one episode a seed. In environments of EnvPool, which takes
                31 bits of a seed, 2k and 2k + 1 are the same episode: give even ones there.
        """
        return self._evaluator.run(seeds)

    def close(self) -> None:
        """Closes the environments."""
        self._evaluator.close()
        self._environments.close()

    def _module(self, seed: int) -> Any:
        return self._blueprint.module(seed, self._dtype).to(self._device)

    def _member(self, member: int) -> Member:
        found = self.members[member]
        assert found is not None, "the member is started first"
        return found

    def _prune(self, i: int, member: Member) -> bool:
        # Criteria and regrowth ask the optimizer whether a layer trains.
        rate = member.hyperparameters.at(member.env_steps - self.steps).lr
        self.adam.members[i].param_groups[0]["lr"] = rate
        try:
            return self.pruning.before_update(i, member.env_steps)
        except ScoreError as error:
            member.failure = str(error)
            return False

    def _learn(self, rollout: Rollout, members: list[int]) -> Losses:
        # Places without a member are stacked along; nothing reads their figures.
        some = self._member(members[0])
        everyone = [m or some for m in self.members]
        # As RLlib, which sets schedules when an update is over: by the clock before this one.
        teaching = [self.pruning.teaching(i) if i in members else 0.0 for i in range(len(everyone))]
        hyperparameters = stacked(
            [m.hyperparameters.at(m.env_steps - self.steps) for m in everyone],
            [m.kl_coeff for m in everyone],
            self.network.weights,
            factors=[
                self.pruning.pruner(i).rate_factor if i in members else 1.0
                for i in range(len(everyone))
            ],
            teaching=teaching,
        )
        batch = batch_of(
            self.network,
            self._distribution,
            dataclasses.replace(rollout, rewards=self._rewards.of(rollout, members)),
            hyperparameters.discount,
            hyperparameters.decay,
        )
        if taught := [i for i, weight in enumerate(teaching) if weight > 0.0]:
            inputs = self._teachers.inputs(batch.observations, taught, batch.inputs.shape[-1])
            batch = dataclasses.replace(batch, taught=inputs)
        order = MinibatchOrder(
            self._draws,
            rows_of(members, self.network),
            [everyone[i].hyperparameters.num_epochs for i in members],
            [rollout.orders[i] for i in members],
            self._blueprint.minibatch,
        )
        return update(
            self.network,
            self.adam,
            self._distribution,
            batch,
            hyperparameters,
            order,
            members,
            self.pruning,
        )

    def _result(
        self, i: int, member: Member, rollout: Rollout, losses: Mapping[str, float]
    ) -> dict[str, Any]:
        returns = rollout.returns[i]
        return {
            "env_steps": member.env_steps,
            "iteration": member.iteration,
            "env_steps_this_iter": self._collector.env_steps,
            "pruning": self.pruning.pruner(i).report(),
            "env_runners": {
                "episode_return_mean": float(np.mean(returns)) if returns else math.nan,
                "num_episodes": len(returns),
            },
            "learners": {**losses, "curr_kl_coeff": member.kl_coeff},
            "failure": member.failure,
        }
