"""Gold in the dataset: every annotator's version, how far they agree, and the lead's version of record."""

from __future__ import annotations

import json

from services.kit.bus.topics import ANNOTATIONS_ACCEPTED, IMAGES_SUBMITTED, JOBS_EVENTS
from tercet.v1 import concepts_pb2, dataset_pb2, records_pb2
from tests.support import runs
from tests.support.dataset_logs import Log, created
from tests.support.hand_fed_dataset import Service, exported


def gold_record(
    copy: int, *, withdrawn: bool = False, agreed: bool = False
) -> records_pb2.AnnotationsAccepted:
    people = ("ann", "bob", "eve")
    pair = runs.pair("dog")
    pair.provenance.annotator = people[copy]
    record = records_pb2.AnnotationsAccepted(
        image=runs.image("a"),
        run=runs.run(stage=concepts_pb2.STAGE_ASSISTED_MANUAL, tier=concepts_pb2.TIER_GOLD),
        pairs=[] if withdrawn else [pair],
        task_id=f"copy-{copy}",
        tier=concepts_pb2.TIER_GOLD,
        withdrawn=withdrawn,
    )
    if agreed:
        record.agreement.pairs.add(phrase="dog", agreement=0.25)
        for number, who in enumerate(people):
            record.agreement.annotators.add(annotator=who, agreement=number / 4, task_id=f"copy-{number}")
    return record


def test_all_versions_of_gold_are_exported_and_the_leads_is_of_record() -> None:
    service, log = Service("gold"), Log()
    job = created(["a"], stage=concepts_pb2.STAGE_ASSISTED_MANUAL)
    service.take(log.write(JOBS_EVENTS, job, key="job-1"))
    image, run = runs.image("a"), gold_record(0).run
    service.take(log.write(IMAGES_SUBMITTED, records_pb2.ImageSubmitted(image=image, run=run), key=image.id))
    for copy in range(3):
        service.take(log.write(ANNOTATIONS_ACCEPTED, gold_record(copy, agreed=copy == 2), key=image.id))
    assert service.view.agreements("acme", "job-1") == {"ann": [0.0], "bob": [0.25], "eve": [0.5]}
    wanted = dataset_pb2.GetAnnotationsRequest(tenant="acme", image_id=image.id, job_id="job-1")
    assert len(service.answering.annotations(wanted).pairs) == 3
    lead = gold_record(0)
    lead.task_id, lead.adjudicated = "lead", True
    lead.pairs[0].masks[0].CopyFrom(runs.mask(9))
    service.take(log.write(ANNOTATIONS_ACCEPTED, lead, key=image.id))
    (dog,) = service.answering.annotations(wanted).pairs
    assert dog.masks[0].counts == runs.mask(9).counts
    entries = [entry["tercet"] for entry in json.loads(exported(service))["images"]]
    assert [(one["version"], one["agreement"]) for one in entries] == [
        ("adjudicated", 0.25),
        ("independent", 0.25),
        ("independent", 0.25),
        ("independent", 0.25),
    ]
    service.take(log.write(ANNOTATIONS_ACCEPTED, gold_record(1, withdrawn=True), key=image.id))
    assert service.view.agreements("acme", "job-1") == {}  # of three that no longer stand
    entries = [entry["tercet"] for entry in json.loads(exported(service))["images"]]
    assert not any("agreement" in one for one in entries)
