"""What people write with a decision reaches whoever has the pair next; at work on gold nobody sees it."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

import pytest

from services.kit.bus.topics import REVIEW_COMPLETED
from services.mining import workers
from services.mining.view import PREFIX
from tercet.v1 import concepts_pb2, mining_pb2, records_pb2
from tests.support import runs
from tests.support.mining_desks import Desk, publish, run_view_worker, take, undo
from tests.support.views import dump

REVIEW = concepts_pb2.VERDICT_REVIEW
ACCEPT, REJECT, EDIT = (
    records_pb2.DECISION_KIND_ACCEPT,
    records_pb2.DECISION_KIND_REJECT,
    records_pb2.DECISION_KIND_EDIT,
)
EXHAUSTIVITY = records_pb2.TASK_TYPE_EXHAUSTIVITY
GOLD = runs.run("job-gold", stage=concepts_pb2.STAGE_ASSISTED_MANUAL, tier=concepts_pb2.TIER_GOLD)


def write(
    desk: Desk,
    held: mining_pb2.LeasedTask,
    text: str,
    kind: records_pb2.DecisionKind.ValueType = ACCEPT,
    *,
    annotator: str = "ann",
    pairs: Sequence[concepts_pb2.Pair] = (),
) -> str:
    """Decides the task and says a word; the decision's id."""
    sent = runs.decision(held.task, kind, id=uuid.uuid4().hex, annotator=annotator, pairs=pairs)
    sent.ClearField("decided_at")  # mining says when
    sent.comment = text
    desk.reviewing.submit(
        mining_pb2.SubmitReviewRequest(tenant="acme", lease_id=held.lease_id, decision=sent)
    )
    run_view_worker(desk)
    desk.clock.advance(1)
    return sent.id


def texts(held: mining_pb2.LeasedTask) -> list[str]:
    return [one.text for one in held.comments]


def test_the_second_person_sees_what_the_first_wrote(desk: Desk) -> None:
    publish(desk, runs.pair("cat", REVIEW), runs.pair("dog", REVIEW), of=runs.run(exhaustivity_rate=1.0))
    (cat,) = desk.lease(phrase="cat")
    assert texts(cat) == []
    markup = "<b>grey</b> one behind the mast\nis a reflection"
    write(desk, cat, f"  {markup} ", EDIT, pairs=[runs.pair("grey cat")])
    (check,) = desk.lease("bob", types=[EXHAUSTIVITY])
    (said,) = check.comments
    assert (said.text, said.annotator, said.kind) == (markup, "ann", EDIT)
    assert (said.task_type, said.job_id) == (records_pb2.TASK_TYPE_REVIEW, check.task.run.job_id)
    assert said.phrases == ["cat", "grey cat"]
    assert said.written_at == desk.completed()[0].decision.decided_at
    (dog,) = desk.lease("bob", phrase="dog")
    assert texts(dog) == [], "it is about another phrase"


def test_who_takes_an_undone_task_sees_what_had_been_written(desk: Desk) -> None:
    publish(desk, runs.pair("cat", REVIEW))
    (held,) = desk.lease()
    first = write(desk, held, "no cat at all", REJECT)
    opened = undo(desk, held.task.id, decision_id=first).task
    assert [one.taken_back for one in opened.comments] == [True], "before the log has been read"
    run_view_worker(desk)
    desk.reviewing.give_back("acme", held.task.id, opened.lease_id, skip=True, annotator="ann")
    (bobs,) = desk.lease("bob")
    assert [(one.text, one.kind, one.taken_back) for one in bobs.comments] == [
        ("no cat at all", REJECT, True)
    ]
    second = write(desk, bobs, "a fox", annotator="bob")
    again = undo(desk, held.task.id, id="u-2", decision_id=second, annotator="bob").task
    run_view_worker(desk)
    assert texts(take(desk, held.task.id, "bob")) == ["no cat at all", "a fox"]
    assert again.task.round == 2


def test_a_pair_that_comes_up_in_another_job_has_its_comments(desk: Desk) -> None:
    publish(desk, runs.pair("cat", REVIEW))
    (held,) = desk.lease()
    write(desk, held, "that is a fox", REJECT)
    publish(desk, runs.pair("cat"), of=runs.run("job-2", audit_rate=1.0))
    (audit,) = desk.lease("bob", job_id="job-2")
    assert audit.task.type == records_pb2.TASK_TYPE_AUDIT
    assert texts(audit) == ["that is a fox"]
    publish(desk, runs.pair("cat", REVIEW), of=runs.run("job-3"), name="two.png")
    (other,) = desk.lease("bob", job_id="job-3")
    assert texts(other) == [], "it is about another image"


def test_a_word_on_a_whole_image_is_about_each_of_its_pairs(desk: Desk) -> None:
    publish(desk, of=runs.run(stage=concepts_pb2.STAGE_ASSISTED_MANUAL))
    (image,) = desk.lease()
    write(desk, image, "fog", EDIT, pairs=[runs.pair("cat"), runs.pair("dog")])
    checks = desk.lease("bob", max_tasks=5)
    assert [one.task.type for one in checks] == [EXHAUSTIVITY] * 2
    assert [texts(one) for one in checks] == [["fog"], ["fog"]]


def test_gold_annotators_and_their_checkers_see_no_comments_and_the_lead_sees_all(desk: Desk) -> None:
    publish(desk, runs.pair("cat", REVIEW), of=runs.run("job-2"))
    (plain,) = desk.lease(job_id="job-2")
    write(desk, plain, "from another job")
    publish(desk, of=GOLD)
    (copy,) = desk.lease("ann", job_id="job-gold")
    first = write(desk, copy, "two cats", EDIT, pairs=[runs.pair("cat", masks=[runs.mask(1)])])
    opened = undo(desk, copy.task.id, decision_id=first).task
    run_view_worker(desk)
    desk.reviewing.give_back("acme", copy.task.id, opened.lease_id, skip=True, annotator="ann")
    for number, who in enumerate(("bob", "eve", "zoe")):
        (copy,) = desk.lease(who, job_id="job-gold", types=[records_pb2.TASK_TYPE_ANNOTATE])
        assert texts(copy) == [], "not even where a copy was begun by another"
        masks = [runs.mask(1 if number else 9)]
        write(desk, copy, f"{who} says", EDIT, annotator=who, pairs=[runs.pair("cat", masks=masks)])
    for who in ("bob", "dan"):
        checks = desk.lease(who, job_id="job-gold", types=[EXHAUSTIVITY], max_tasks=5)
        assert checks
        assert all(texts(one) == [] for one in checks)
        write(desk, checks[0], f"{who} checked", annotator=who)
        for one in checks[1:]:
            desk.reviewing.give_back("acme", one.task.id, one.lease_id, skip=False, annotator=who)
    (lead,) = desk.lease("lea", job_id="job-gold", types=[records_pb2.TASK_TYPE_ADJUDICATE])
    assert texts(lead) == [
        "from another job",
        "two cats",
        "bob says",
        "eve says",
        "zoe says",
        "bob checked",
        "dan checked",
    ]
    assert [one.taken_back for one in lead.comments] == [False, True, *[False] * 5]
    write(desk, lead, "of record", EDIT, annotator="lea", pairs=[runs.pair("cat", masks=[runs.mask(1)])])
    publish(desk, runs.pair("cat"), of=runs.run("job-3", audit_rate=1.0))
    (audit,) = desk.lease("ann", job_id="job-3")
    assert texts(audit) == ["from another job"], "what was written at work on gold stays there"


def test_of_many_comments_the_latest_are_shown(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.mining.comments.MOST_SHOWN", 2)
    for number in range(3):
        publish(desk, runs.pair("cat", REVIEW), of=runs.run(f"job-{number}"))
        (held,) = desk.lease(job_id=f"job-{number}")
        write(desk, held, f"{number}")
    publish(desk, runs.pair("cat", REVIEW), of=runs.run("job-9"))
    assert texts(desk.lease(job_id="job-9")[0]) == ["1", "2"]


def test_a_rebuilt_view_and_a_log_read_twice_have_the_same_comments(desk: Desk) -> None:
    publish(desk, runs.pair("cat", REVIEW), runs.pair("dog", REVIEW), of=runs.run(exhaustivity_rate=1.0))
    first, second = desk.lease(max_tasks=2)
    undone = write(desk, first, "one", REJECT)
    write(desk, second, "two")
    opened = undo(desk, first.task.id, decision_id=undone).task
    desk.reviewing.give_back("acme", first.task.id, opened.lease_id, skip=False, annotator="ann")
    run_view_worker(desk)
    before = dump(desk.state, f"{PREFIX}{{acme}}:")
    assert any(":comments:" in key for key in before)
    for record in desk.bus.read([REVIEW_COMPLETED]):
        workers.apply(desk.routing, record)
    assert dump(desk.state, f"{PREFIX}{{acme}}:") == before
    for key in desk.state.scan_iter(match=f"{PREFIX}*"):
        desk.state.delete(key)
    workers.rebuild(desk.bus, desk.state, desk.routing)
    comments = {
        key: value for key, value in dump(desk.state, f"{PREFIX}{{acme}}:").items() if ":comments:" in key
    }
    assert comments == {key: value for key, value in before.items() if ":comments:" in key}
