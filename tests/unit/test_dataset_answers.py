"""What callers get: jobs, images, annotations, exports, reports; foreign ids as unknown ones."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable

import pytest

from services.core.errors import InvalidInput, NotFound, Overloaded
from services.kit.bus.topics import JOBS_EVENTS
from tercet.v1 import dataset_pb2, records_pb2
from tests.support import runs
from tests.support.dataset_logs import Log, Scene, created
from tests.support.hand_fed_dataset import Service

SACO = dataset_pb2.EXPORT_FORMAT_SACO


@pytest.fixture
def service(request: pytest.FixtureRequest) -> Service:
    made = Service(f"answers-{request.node.name}")
    for record in Scene().log.records:
        made.take(record)
    return made


def image_request(
    image_name: str, *, tenant: str = "acme", job_id: str = ""
) -> dataset_pb2.GetAnnotationsRequest:
    return dataset_pb2.GetAnnotationsRequest(tenant=tenant, image_id=runs.image_id(image_name), job_id=job_id)


def test_annotations_of_record_are_merged(service: Service) -> None:
    answer = service.answering.annotations(image_request("reviewed.png"))
    assert [pair.phrase for pair in answer.pairs] == ["cat", "dog", "wolf"]
    assert (answer.job_id, answer.image.name) == ("job-1", "reviewed.png")
    assert answer.image.WhichOneof("content") is None
    assert [pair.phrase for pair in service.answering.annotations(image_request("open.png")).pairs] == [
        "dog",
        "wolf",
    ]
    assert not service.answering.annotations(image_request("failed.png")).pairs
    assert "acme/annotations/job-1/" in next(service.blobs.list("acme/annotations/"))


@pytest.mark.parametrize(
    "ask",
    [
        lambda s, tenant: s.answering.job(tenant, "job-1"),
        lambda s, tenant: s.answering.image(tenant, runs.image_id("open.png")),
        lambda s, tenant: s.answering.annotations(image_request("open.png", tenant=tenant)),
        lambda s, tenant: s.answering.list_images(
            dataset_pb2.ListJobImagesRequest(tenant=tenant, job_id="job-1")
        ),
        lambda s, tenant: s.answering.create_export(
            dataset_pb2.CreateExportRequest(tenant=tenant, job_ids=["job-1"], format=SACO)
        ),
        lambda s, tenant: s.answering.report(dataset_pb2.ReportRequest(tenant=tenant, job_id="job-1")),
        lambda s, tenant: list(s.answering.watch(tenant, "job-1", threading.Event(), lambda: True)),
    ],
)
def test_a_foreign_id_is_answered_like_an_unknown_one(
    service: Service, ask: Callable[[Service, str], object]
) -> None:
    ask(service, "acme")
    with pytest.raises(NotFound) as foreign:
        ask(service, "other")
    with pytest.raises(NotFound) as unknown:
        ask(Service("nothing"), "acme")
    assert str(foreign.value) == str(unknown.value)


def test_exports_of_another_tenant_are_unknown(service: Service) -> None:
    made = service.answering.create_export(dataset_pb2.CreateExportRequest(tenant="acme", format=SACO))
    assert service.answering.export("acme", made.id) == made
    for tenant, export_id in (("other", made.id), ("acme", "0" * 32), ("acme", "../x")):
        with pytest.raises(NotFound):
            service.answering.export(tenant, export_id)
    assert not service.answering.list_exports("other").exports


def test_an_export_again_is_the_same_export(service: Service) -> None:
    request = dataset_pb2.CreateExportRequest(tenant="acme", job_ids=["job-1"], format=SACO)
    first = service.answering.create_export(request)
    assert service.answering.create_export(request) == first
    assert (first.images, first.pairs, first.masks) == (3, 7, 4)
    document = json.loads(service.blobs.fetch(first.blob))
    assert len(document["images"]) == 7
    coco = service.answering.create_export(
        dataset_pb2.CreateExportRequest(tenant="acme", format=dataset_pb2.EXPORT_FORMAT_COCO)
    )
    assert {one.id for one in service.answering.list_exports("acme").exports} == {first.id, coco.id}


def test_the_same_log_gives_the_same_export_byte_for_byte() -> None:
    contents = []
    for name in ("first", "second"):
        service = Service(f"bytes-{name}")
        for record in Scene().log.records:
            service.take(record)
        made = service.answering.create_export(dataset_pb2.CreateExportRequest(tenant="acme", format=SACO))
        contents.append(service.blobs.fetch(made.blob))
    assert contents[0] == contents[1]


def test_an_export_needs_a_format(service: Service) -> None:
    with pytest.raises(InvalidInput):
        service.answering.create_export(dataset_pb2.CreateExportRequest(tenant="acme"))


def test_images_of_a_job_by_state_and_page(service: Service) -> None:
    def page(
        token: str, size: int, state: dataset_pb2.ImageState.ValueType = dataset_pb2.IMAGE_STATE_UNSPECIFIED
    ) -> tuple[list[str], str]:
        answer = service.answering.list_images(
            dataset_pb2.ListJobImagesRequest(
                tenant="acme", job_id="job-1", page_size=size, page_token=token, state=state
            )
        )
        return [image.image_id for image in answer.images], answer.next_page_token

    everything = sorted(map(runs.image_id, Scene.names))
    first, token = page("", 3)
    second, end = page(token, 3)
    assert (first + second, end) == (everything, "")
    assert page("", 4) == (everything, "")
    failed = service.answering.list_images(
        dataset_pb2.ListJobImagesRequest(tenant="acme", job_id="job-1", state=dataset_pb2.IMAGE_STATE_FAILED)
    )
    assert [(image.name, image.failure.reason) for image in failed.images] == [
        ("failed.png", "the picture is broken")
    ]
    with pytest.raises(InvalidInput):
        page("", 1001)


def test_jobs_newest_first_by_page() -> None:
    service, log = Service(), Log()
    for number in range(5):
        event = created(["a"], job_id=f"job-{number}")
        event.at.seconds += number
        service.take(log.write(JOBS_EVENTS, event, key=event.job_id))
    found: list[str] = []
    token = ""
    while True:
        answer = service.answering.list_jobs(
            dataset_pb2.ListJobsRequest(tenant="acme", page_size=2, page_token=token)
        )
        found += [job.id for job in answer.jobs]
        token = answer.next_page_token
        if not token:
            break
    assert found == ["job-4", "job-3", "job-2", "job-1", "job-0"]
    with pytest.raises(InvalidInput):
        service.answering.list_jobs(dataset_pb2.ListJobsRequest(tenant="acme", page_token="unknown"))
    assert not service.answering.list_jobs(dataset_pb2.ListJobsRequest(tenant="other")).jobs


def test_a_page_of_jobs_ends_where_a_message_does() -> None:
    service, log = Service(), Log()
    for number in range(3):
        event = created([], job_id=f"job-{number}")
        event.created.name = "x" * (2 * 1024 * 1024)
        service.take(log.write(JOBS_EVENTS, event, key=event.job_id))
    answer = service.answering.list_jobs(dataset_pb2.ListJobsRequest(tenant="acme"))
    assert (len(answer.jobs), answer.next_page_token) == (1, answer.jobs[0].id)


def test_report(service: Service) -> None:
    answer = service.answering.report(dataset_pb2.ReportRequest(tenant="acme"))
    assert dict(answer.pairs_by_verdict) == {"accept": 6, "review": 3}
    assert {at: n for at, n in enumerate(answer.score_histogram) if n} == {16: 3, 18: 3, 19: 3}
    assert (answer.decisions, answer.corrections, answer.active_seconds) == (1, 1, 2.5)


def test_watching_shows_each_change_and_ends_when_the_models_are_done() -> None:
    service, scene = Service(), Scene()
    service.take(scene.log.records[0])
    stream = service.answering.watch("acme", "job-1", threading.Event(), lambda: True)
    seen = [next(stream)]
    for record in scene.log.records[1:]:
        service.take(record)
    seen += list(stream)
    assert [job.status for job in seen] == [
        dataset_pb2.JOB_STATUS_RUNNING,
        dataset_pb2.JOB_STATUS_WAITING_FOR_PEOPLE,
    ]


def test_watching_ends_with_the_caller_and_is_limited() -> None:
    service, log = Service(), Log()
    service.take(log.write(JOBS_EVENTS, created(["a"]), key="job-1"))
    gone = threading.Event()
    streams = [service.answering.watch("acme", "job-1", gone, lambda: not gone.is_set()) for _ in range(10)]
    for stream in streams:
        next(stream)
    with pytest.raises(Overloaded):
        next(service.answering.watch("acme", "job-1", gone, lambda: True))
    gone.set()
    assert [list(stream) for stream in streams] == [[]] * 10
    assert next(service.answering.watch("acme", "job-1", gone, lambda: True)).id == "job-1"


def test_an_image_of_several_jobs_answers_with_the_newest_that_has_annotations() -> None:
    service, log = Service("several"), Log()
    for number, job_id in enumerate(("job-a", "job-b")):
        run = runs.run(job_id)
        run.submitted_at.seconds += number
        service.take(
            log.write("images.submitted", records_pb2.ImageSubmitted(image=runs.image(), run=run), key="k")
        )
        service.take(log.write(JOBS_EVENTS, created(["one.png"], job_id=job_id), key=job_id))
    accepted = records_pb2.AnnotationsAccepted(
        image=runs.image(), run=runs.run("job-a"), pairs=[runs.pair("dog")]
    )
    service.take(log.write("annotations.accepted", accepted, key="k"))
    assert list(service.answering.image("acme", runs.image_id("one.png")).job_ids) == ["job-a", "job-b"]
    answer = service.answering.annotations(image_request("one.png"))
    assert (answer.job_id, len(answer.pairs)) == ("job-a", 1)
    named = service.answering.annotations(image_request("one.png", job_id="job-b"))
    assert (named.job_id, len(named.pairs)) == ("job-b", 0)
