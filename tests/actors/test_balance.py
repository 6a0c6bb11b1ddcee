"""Which worker moves where, and that it does not move to and fro."""

import pytest

from actors.balance import SPARES, STARVES, Load, decide

IDLE, FULL = Load(4, 0.2, 0.0), Load(1, 1.0, 1.0)


def test_a_starving_stage_gets_a_worker_of_the_idlest_one():
    move = decide({"generator": Load(4, 0.3, 1.0), "executor": FULL, "scorer": Load(4, 0.1, 0.0)})
    assert (move.giver, move.taker) == ("scorer", "executor")
    assert "100% of the time with work waiting" in move.why


def test_nothing_moves_while_no_stage_starves_the_others():
    assert decide({"generator": IDLE, "executor": Load(1, STARVES - 0.01, 1.0), "scorer": IDLE}) is None
    assert decide({"generator": IDLE, "executor": Load(1, 1.0, 0.2), "scorer": IDLE}) is None  # nothing waits for it


def test_a_stage_keeps_its_last_worker():
    assert decide({"generator": Load(1, 0.1, 1.0), "executor": FULL, "scorer": Load(1, 0.0, 0.0)}) is None


def test_a_stage_that_would_nearly_starve_others_in_turn_gives_nothing():
    busy = SPARES * 2 / 3
    assert decide({"generator": Load(3, busy + 0.01, 1.0), "executor": FULL}) is None
    assert decide({"generator": Load(3, busy - 0.01, 1.0), "executor": FULL}).giver == "generator"


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
            loads[role] = Load(there[role], busy, float(busy > 0.99))
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
