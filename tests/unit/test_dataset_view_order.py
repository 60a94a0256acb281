"""The job view: exact in any order and repetition of records; ends of jobs told once; rebuild equal."""

from __future__ import annotations

import random
from collections import Counter

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.dataset import workers
from services.dataset.view import PREFIX
from services.kit.bus.embedded import EmbeddedBus
from services.kit.bus.outcomes import Done
from services.kit.bus.ports import Record
from services.kit.bus.topics import JOBS_EVENTS
from tercet.v1 import concepts_pb2, records_pb2
from tests.support.dataset_logs import STAGE_2, STAGE_3, Scene, cancelled
from tests.support.hand_fed_dataset import Service
from tests.support.views import dump


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
@given(seed=st.integers(0, 2**32), stage=st.sampled_from([STAGE_2, STAGE_3]), stop=st.booleans())
def test_any_order_and_any_repetition_gives_the_same_view(
    seed: int, stage: concepts_pb2.Stage.ValueType, stop: bool
) -> None:
    scene = Scene(stage=stage)
    if stop:
        scene.log.write(JOBS_EVENTS, cancelled(), key="job-1")
    in_order, shuffled = Service("order"), Service("shuffled")
    for record in scene.log.records:
        in_order.take(record)
    chance = random.Random(seed)
    records = [*scene.log.records, *chance.sample(scene.log.records, len(scene.log.records) // 2)]
    chance.shuffle(records)
    for record in records:
        shuffled.take(record)
    assert shuffled.dump() == in_order.dump()


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 2**32), open_task=st.booleans())
def test_the_end_of_a_job_is_told_once_whatever_is_aborted(seed: int, open_task: bool) -> None:
    """Partitions go forward independently; a record's transaction may be aborted, then it comes again."""
    scene, service, chance = Scene(open_task=open_task), Service("told"), random.Random(seed)
    queues: dict[str, list[Record]] = {}
    for record in scene.log.records:
        queues.setdefault(record.topic, []).append(record)
    committed: Counter[str] = Counter()
    while queues:
        topic = chance.choice(sorted(queues))
        told = service.take(queues[topic][0])
        if chance.random() < 0.4:
            continue  # not committed: the record is delivered again, at some time
        committed.update(event.finished.status for event in told)
        queues[topic].pop(0)
        if not queues[topic]:
            del queues[topic]
    last = "waiting_for_people" if open_task else "complete"
    assert committed[last] == 1
    assert all(n == 1 for n in committed.values())


def test_an_aborted_end_is_told_again_with_the_same_words() -> None:
    service, scene = Service(), Scene(open_task=False)
    *before, last = scene.log.records
    for record in before:
        service.take(record)
    first = service.take(last)
    assert [event.finished.status for event in first] == ["complete"]
    assert service.take(last) == first
    assert service.take(before[-1]) == []
    service.take(scene.log.write(JOBS_EVENTS, first[0], key="job-1"))
    assert service.job().finished_at == first[0].at
    assert service.take(last) == []  # the log has it


def test_the_view_rebuilt_from_the_log_is_equal_to_the_last_byte() -> None:
    service, scene, bus = Service("rebuild"), Scene(), EmbeddedBus()
    for record in scene.log.records:
        bus.publish([record])
    consumer = bus.subscribe(group=workers.GROUP, topics=workers.TOPICS)
    while records := consumer.poll(max_records=16, timeout=0.0):
        outcomes = [workers._outcome(service.recording, record) for record in records]
        outputs = [message for one in outcomes if isinstance(one, Done) for message in one.outputs]
        consumer.commit(records, outputs)
    before = {key: value for key, value in dump(service.state, PREFIX).items() if ":changes:" not in key}
    told = [
        event.finished.status
        for record in bus.read([JOBS_EVENTS])
        if (event := records_pb2.JobEvent.FromString(record.value)).HasField("finished")
    ]
    assert told == ["waiting_for_people"]
    service.state.flushall()
    for _ in range(2):
        workers.rebuild(bus, service.state, service.recording)
        again = {key: value for key, value in dump(service.state, PREFIX).items() if ":changes:" not in key}
        assert again == before
    bus.close()
