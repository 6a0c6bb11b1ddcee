"""Admission: how many groups may be on their way, and what for.

Until the first reward model is published, groups are sampled for the reward model alone. From then on they also train
the policy. Such groups are trained on in the order of their admission, and the n-th of them (from 0) is admitted once
every generator has a version in which `n // groups_per_step - max_staleness` steps were taken. So no token that a step
is trained on was sampled more than `max_staleness` steps before it: a hard bound, where a gate on the number of groups
alone (AReaL, arXiv 2505.24298) bounds the mean. Order costs waiting for the slowest; nothing is ever dropped for age,
so long programs are trained on in the share in which they were sampled.

With `schedule: phased` a step's groups are admitted together, once nothing is left of those before.

Invariant: submitted == trained + dropped + running, and no group is trained on twice.
"""

from __future__ import annotations

import asyncio

from roles.config import Config


class Admission:
    def __init__(self, config: Config) -> None:
        self._step = config.policy.groups_per_step
        self._phased = config.schedule == "phased"
        self._lag = 0 if self._phased else config.policy.max_staleness
        self._total = config.iterations * config.policy.steps_per_iteration * self._step
        self._iterations = config.iterations
        self._groups_per_iteration = config.reward.groups_per_iteration
        self._changed = asyncio.Condition()
        self._running: set[str] = set()
        self._unlearned: set[str] = set()  # not yet past the reward learner
        self._stopped = False
        self.submitted = self.trained = self.dropped = self.trained_twice = 0
        self.steps_everywhere = 0  # policy steps in the version of the generator that is furthest behind
        self.reward_version = 0
        self.mined = 0  # groups with pairs, scored by the newest reward version
        self._unmined = 0  # groups that were admitted for the reward model alone and are on their way to the miner

    @property
    def limit(self) -> int:
        """Groups that may be between sampling and training at most."""
        return (self._lag + 1) * self._step

    async def admit(self, groups: tuple[str, ...]) -> bool:
        """Wait until `groups` may be sampled. Returns whether they train the policy too."""
        async with self._changed:
            await self._changed.wait_for(
                lambda: self._turn() and (self._for_policy(len(groups)) or self._for_reward_model())
            )
            for_policy = self._for_policy(len(groups))
            self._enter(groups, for_policy)
            return for_policy

    async def turn(self) -> None:
        """Wait until something may be sampled, whatever it is for."""
        async with self._changed:
            await self._changed.wait_for(self._turn)

    async def readmit(self, groups: tuple[str, ...], for_policy: bool) -> None:
        """Count `groups` that were sampled before the run was broken off, and are still to be trained on."""
        async with self._changed:
            self._enter(groups, for_policy)

    async def was_trained(self, groups: tuple[str, ...]) -> None:
        async with self._changed:
            self.trained_twice += len(set(groups) - self._running)
            self._running.difference_update(groups)
            self.trained += len(groups)
            self._changed.notify_all()

    async def was_dropped(self, groups: tuple[str, ...], for_policy: bool) -> None:
        """Nobody could serve them."""
        async with self._changed:
            if for_policy:
                self._running.difference_update(groups)
                self.dropped += len(groups)
            else:
                self._unmined -= len(groups)
            self._unlearned.difference_update(groups)
            self._changed.notify_all()

    async def was_mined(self, groups: int, of: int, for_policy: bool, reward_version: int) -> None:
        """`groups` with pairs, `of` so many, scored by `reward_version`, are on their way to the reward learner."""
        async with self._changed:
            if not for_policy:
                self._unmined -= of
            if reward_version == self.reward_version:
                self.mined += groups
            self._changed.notify_all()

    async def was_learned(self, groups: tuple[str, ...]) -> None:
        """The reward learner is past `groups`."""
        async with self._changed:
            self._unlearned.difference_update(groups)
            self._changed.notify_all()

    async def new_reward_model(self, version: int) -> None:
        async with self._changed:
            self.reward_version, self.mined = version, 0
            self._changed.notify_all()

    async def taken_up(self, steps: int) -> None:
        """Every generator has a policy version in which at least `steps` steps were taken."""
        async with self._changed:
            self.steps_everywhere = steps
            self._changed.notify_all()

    async def stop(self) -> None:
        """Admit nothing more, and wait until what was admitted is in the ledger and past the reward learner."""
        async with self._changed:
            self._stopped = True
            await self._changed.wait_for(lambda: not self._unlearned)

    def resume(self, policy_steps: int, reward_version: int, mined: int) -> None:
        """Take up the counters of a broken-off run."""
        self.submitted = self.trained = policy_steps * self._step
        self.reward_version, self.mined = reward_version, mined

    def invariant(self) -> dict[str, int]:
        return {
            "submitted": self.submitted,
            "trained": self.trained,
            "dropped": self.dropped,
            "running": len(self._running),
            "trained_twice": self.trained_twice,
        }

    def _enter(self, groups: tuple[str, ...], for_policy: bool) -> None:
        self._unlearned.update(groups)
        if for_policy:
            self._running.update(groups)
            self.submitted += len(groups)
        else:
            self._unmined += len(groups)

    def _turn(self) -> bool:
        if self._stopped:
            return False
        return not self._phased or (not self._unlearned and len(self._running) < self._step)

    def _for_policy(self, count: int) -> bool:
        last = self.submitted - self.dropped + count  # of the groups that are trained on, if these were admitted
        return (
            self.reward_version > 0
            and last <= self._total
            and last <= (self._lag + 1 + self.steps_everywhere) * self._step
        )

    def _for_reward_model(self) -> bool:
        expected = self.mined + self._unmined // 2  # at least half of the groups give pairs, mostly
        if self.reward_version >= self._iterations or expected >= self._groups_per_iteration:
            return False
        return self.reward_version == 0 or self.submitted >= self._total
