"""Which worker moves where, and that it does not move to and fro."""

import pytest

from actors.balance import SPARES, STARVES, Load, decide


def test_a_starving_stage_gets_a_worker_of_the_idlest_one():
    move = decide({"generator": Load(4, 0.3), "executor": Load(1, 1.0), "scorer": Load(4, 0.1)})
    assert (move.giver, move.taker) == ("scorer", "executor")
    assert "executors (1) were busy 100% of the time, scorers (4) 10%" in move.why


def test_nothing_moves_while_no_stage_starves_the_others():
    assert decide({"generator": Load(4, 0.2), "executor": Load(1, STARVES - 0.01), "scorer": Load(4, 0.2)}) is None


def test_a_stage_keeps_its_last_worker():
    assert decide({"generator": Load(1, 0.1), "executor": Load(1, 1.0), "scorer": Load(1, 0.0)}) is None


def test_a_stage_that_would_nearly_starve_others_in_turn_gives_nothing():
    busy = SPARES * 2 / 3
    assert decide({"generator": Load(3, busy + 0.01), "executor": Load(1, 1.0)}) is None
    assert decide({"generator": Load(3, busy - 0.01), "executor": Load(1, 1.0)}).giver == "generator"


@pytest.mark.parametrize("seconds", [(1.0, 5.0, 0.5), (10.0, 1.0, 1.0), (1.0, 1.0, 1.0), (3.0, 2.0, 7.0)])
@pytest.mark.parametrize("workers", [(10, 1, 1), (4, 4, 4), (1, 1, 10)])
def test_it_comes_to_rest_at_a_throughput_that_is_no_worse(workers: tuple, seconds: tuple):
    """A pipeline whose stages take `seconds` for a batch; the slowest one is busy all the time."""
    roles = ("generator", "executor", "scorer")
    there = dict(zip(roles, workers, strict=True))
    need = dict(zip(roles, seconds, strict=True))

    def throughput():
        return min(there[role] / need[role] for role in roles)

    rates = [throughput()]
    for _ in range(30):
        loads = {}
        for role in roles:
            busy = throughput() * need[role] / there[role]
            loads[role] = Load(there[role], busy)
        move = decide(loads)
        if move is None:
            break
        there[move.giver] -= 1
        there[move.taker] += 1
        rates.append(throughput())
    assert move is None
    assert sum(there.values()) == sum(workers)
    assert rates == sorted(rates)
    best = sum(workers) / sum(seconds)
    assert rates[-1] >= 0.5 * best
