"""Admission: how many groups may be on their way, and what for.

Until the first reward model is published, groups are sampled for the reward model alone. From then on they also train
the policy, and at most `(max_staleness + 1) * groups_per_step` of them are between sampling and training; that bounds
the mean lag of a sample (AReaL, arXiv 2505.24298).

Invariant: submitted == trained + dropped + running, and no group is trained on twice.
"""

from __future__ import annotations

import asyncio

from roles.config import Config


class Admission:
    def __init__(self, config: Config) -> None:
        self._step = config.policy.groups_per_step
        self.limit = (config.policy.max_staleness + 1) * self._step
        self._total = config.iterations * config.policy.steps_per_iteration * self._step
        self._iterations = config.iterations
        self._groups_per_iteration = config.reward.groups_per_iteration
        self._changed = asyncio.Condition()
        self._running: set[str] = set()
        self._trained: set[str] = set()
        self.submitted = self.trained = self.dropped = self.trained_twice = 0
        self.reward_version = 0
        self.mined = 0  # groups with pairs, scored by the newest reward version
        self._unmined = 0  # groups that were admitted for the reward model alone and are on their way to the miner

    async def admit(self, groups: tuple[str, ...]) -> bool:
        """Wait until `groups` may be sampled. Returns whether they train the policy too."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._for_policy(len(groups)) or self._for_reward_model())
            if not self._for_policy(len(groups)):
                self._unmined += len(groups)
                return False
            self._running.update(groups)
            self.submitted += len(groups)
            return True

    async def was_trained(self, groups: tuple[str, ...]) -> None:
        async with self._changed:
            self.trained_twice += len(self._trained.intersection(groups))
            self._trained.update(groups)
            self._running.difference_update(groups)
            self.trained += len(groups)
            self._changed.notify_all()

    async def was_mined(self, groups: int, of: int, for_policy: bool, reward_version: int) -> None:
        """`groups` with pairs, `of` so many, scored by `reward_version`, are on their way to the reward learner."""
        async with self._changed:
            if not for_policy:
                self._unmined -= of
            if reward_version == self.reward_version:
                self.mined += groups
            self._changed.notify_all()

    async def new_reward_model(self, version: int) -> None:
        async with self._changed:
            self.reward_version, self.mined = version, 0
            self._changed.notify_all()

    def resume(self, policy_steps: int, reward_version: int) -> None:
        """Take up the counters of a broken-off run."""
        self.submitted = self.trained = policy_steps * self._step
        self.reward_version = reward_version

    def invariant(self) -> dict[str, int]:
        return {
            "submitted": self.submitted,
            "trained": self.trained,
            "dropped": self.dropped,
            "running": len(self._running),
            "trained_twice": self.trained_twice,
        }

    def _for_policy(self, count: int) -> bool:
        in_flight = len(self._running)
        return (
            self.reward_version > 0
            and self.submitted + count <= self._total
            and in_flight + count <= self.limit
        )

    def _for_reward_model(self) -> bool:
        expected = self.mined + self._unmined // 2  # at least half of the groups give pairs, mostly
        if self.reward_version >= self._iterations or expected >= self._groups_per_iteration:
            return False
        return self.reward_version == 0 or self.submitted >= self._total
