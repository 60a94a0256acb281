"""A flaw of kafka-python 3.0.12, mended: the result of a join that ends between two polls is thrown away.

`BaseCoordinator.join_group_async` starts the join as a task and waits for it no longer than the poll may
last. When the task ends while nobody waits, the next poll finds it done and starts another one: the group is
rebalanced again, and a member whose polls are short never gets its partitions. Here the result is kept, and
the other task gets it.
"""

from __future__ import annotations

from typing import Any


def keep_join_results(consumer: Any) -> None:
    """Mend a `KafkaConsumer` that has not joined yet."""
    coordinator = consumer._coordinator
    join_and_sync, on_join_complete = coordinator._do_join_and_sync_async, coordinator._on_join_complete_async
    kept: list[tuple[Any, bytes]] = []

    async def join_once() -> bytes:
        if kept:
            generation, assignment = kept.pop()
            if generation == coordinator._generation:
                kept.append((generation, assignment))
                return assignment
        result: bytes = await join_and_sync()
        kept[:] = [(coordinator._generation, result)]
        return result

    async def complete(*arguments: Any) -> None:
        kept.clear()
        await on_join_complete(*arguments)

    coordinator._do_join_and_sync_async = join_once
    coordinator._on_join_complete_async = complete
