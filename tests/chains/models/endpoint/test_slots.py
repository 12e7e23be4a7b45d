import asyncio

from chains.models.endpoint.limiter import FixedLimit
from chains.models.endpoint.slots import Slots


def run(holders, slots=2):
    """Run coroutine functions of (slots, log, task list) in one loop; return the log."""

    async def all_of_them():
        held, log, tasks = Slots(FixedLimit(slots)), [], []
        tasks += [asyncio.create_task(holder(held, log, tasks)) for holder in holders]
        await asyncio.gather(*tasks, return_exceptions=True)
        return log

    return asyncio.run(all_of_them())


async def hold(slots, log, tasks):
    async with slots:
        log.append("in")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        log.append("out")


def test_no_more_are_in_than_there_are_slots():
    log = run([hold] * 7)
    inside = 0
    for entry in log:
        inside += 1 if entry == "in" else -1
        assert inside <= 2
    assert len(log) == 14


def test_slots_that_a_limit_wins_are_used_at_the_next_end():
    async def widen(slots, log, tasks):
        async with slots:
            slots.limit.slots = 4
        log.append("wide")

    log = run([widen, *[hold] * 4], slots=1)
    assert log[:5] == ["wide", "in", "in", "in", "in"]


def test_a_cancelled_turn_is_handed_on():
    async def cancel_the_next(slots, log, tasks):
        async with slots:
            await asyncio.sleep(0)
        tasks[1].cancel()  # after its turn was given and before it runs

    log = run([cancel_the_next, hold, hold, hold], slots=1)
    assert log == ["in", "out"] * 2


def test_one_that_stops_waiting_takes_nobody_s_turn():
    async def cancel_a_waiting_one(slots, log, tasks):
        async with slots:
            await asyncio.sleep(0)
            tasks[1].cancel()
            await asyncio.sleep(0)

    log = run([cancel_a_waiting_one, hold, hold], slots=1)
    assert log == ["in", "out"]
