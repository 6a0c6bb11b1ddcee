"""How rollouts are cut for updates and forward passes."""

import random

from learners import prompt, sequence

from roles.policy.minibatches import minibatches


def drawn(prompts: int, samples: int = 3, seed: int = 0):
    rng = random.Random(seed)
    return [sequence(rng, shared) for shared in (prompt(rng) for _ in range(prompts)) for _ in range(samples)]


def tokens(sequences, part) -> int:
    """Shared prompts counted once."""
    prompts = {sequences[index].prompt for index in part}
    return sum(map(len, prompts)) + sum(len(sequences[index].completion) for index in part)


def test_there_are_as_many_updates_as_asked_for_of_like_size():
    for seed in range(20):
        sequences = drawn(17, seed=seed)
        found = minibatches(sequences, 4, 10_000, random.Random(seed))
        sizes = [sum(tokens(sequences, part) for part in batch) for batch in found]
        assert len(found) == 4
        assert max(sizes) < 1.25 * min(sizes)
        assert sorted(index for batch in found for part in batch for index in part) == list(range(len(sequences)))


def test_parts_keep_to_the_budget_and_prompts_together():
    sequences = drawn(12)
    found = minibatches(sequences, 2, 60, random.Random(0))
    where = {}
    for number, part in enumerate(part for batch in found for part in batch):
        prompts = {sequences[index].prompt for index in part}
        assert tokens(sequences, part) <= 60 or len(prompts) == 1
        for shared in prompts:
            assert where.setdefault(shared, number) == number
    assert len(set(where.values())) > 2


def test_fewer_prompts_than_updates_make_fewer_updates():
    assert len(minibatches(drawn(2), 4, 10_000, random.Random(0))) == 2
