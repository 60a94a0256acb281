"""What the dataset service shows of pairs, phrases and work. Of another tenant's, nothing is known."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from services.core.errors import InvalidInput, NotFound
from services.dataset import domain, figures, pairs
from services.dataset.figures import Sums
from services.dataset.pairs_view import Filters, Row, records_of
from services.dataset.places import annotation_key, verdicts_key
from services.dataset.settings import DatasetSettings
from services.dataset.view import JobView
from services.kit.blobs.ports import Blobs
from services.kit.bus.topics import MAX_RECORD_BYTES
from tercet.v1 import concepts_pb2, dataset_pb2, records_pb2

MAX_PAIRS: Final = 200
MAX_PHRASES: Final = 1000
_CODES: Final = {
    concepts_pb2.VERDICT_UNSPECIFIED: "",
    concepts_pb2.VERDICT_ACCEPT: pairs.ACCEPT,
    concepts_pb2.VERDICT_REVIEW: pairs.REVIEW,
    concepts_pb2.VERDICT_REJECT: pairs.REJECT,
}
_VERDICTS: Final = {code: verdict for verdict, code in _CODES.items() if code}
_POLARITIES: Final = {
    concepts_pb2.POLARITY_UNSPECIFIED: "",
    concepts_pb2.POLARITY_POSITIVE: "p",
    concepts_pb2.POLARITY_NEGATIVE: "n",
}
_Content = records_pb2.AnnotationsAccepted | records_pb2.ImageVerified


class Showing:
    """Reads the view and the object store."""

    def __init__(self, view: JobView, blobs: Blobs, settings: DatasetSettings) -> None:
        self._view = view
        self._blobs = blobs
        self._settings = settings

    def pairs(self, request: dataset_pb2.ListPairsRequest) -> dataset_pb2.ListPairsResponse:
        """A job's pairs that fit. Raises `NotFound` for an unknown job."""
        tenant, job_id = request.tenant, request.job_id
        if not 0 <= request.page_size <= MAX_PAIRS:
            raise InvalidInput(f"page_size is between 1 and {MAX_PAIRS}")
        status = self._status(tenant, job_id)
        if request.verdict not in _CODES or request.polarity not in _POLARITIES:
            raise InvalidInput("the verdict or the polarity is not one of ours")
        filters = Filters(
            phrase=request.phrase,
            polarity=_POLARITIES[request.polarity],
            code=_CODES[request.verdict],
            least=request.min_score if request.HasField("min_score") else None,
            largest=request.max_score if request.HasField("max_score") else None,
            model=request.model,
            annotator=request.annotator,
        )
        rows, after = self._view.pairs.rows(
            tenant, job_id, filters, after=request.page_token, size=request.page_size or 50
        )
        found = self._contents(tenant, job_id, rows)
        response = dataset_pb2.ListPairsResponse(next_page_token=after)
        room = MAX_RECORD_BYTES
        for number, row in enumerate(rows):
            listed = self._listed(tenant, row, found)
            if listed is None:
                continue
            listed.waiting = listed.waiting and status != dataset_pb2.JOB_STATUS_CANCELLED
            room -= listed.ByteSize()
            if room < 0 and response.pairs:  # a page has an end in bytes, too
                response.next_page_token = rows[number - 1].key
                break
            response.pairs.append(listed)
        return response

    def waiting(self, tenant: str, job_id: str, image_id: str) -> list[concepts_pb2.Pair]:
        """The image's pairs that a person has yet to decide, in order of phrase."""
        if self._status(tenant, job_id) == dataset_pb2.JOB_STATUS_CANCELLED:
            return []
        rows = [row for row in self._view.pairs.of_image(tenant, job_id, image_id) if row.waiting]
        found = self._contents(tenant, job_id, rows)
        listed = [self._listed(tenant, row, found) for row in rows]
        return [one.pair for one in listed if one is not None]

    def phrases(self, request: dataset_pb2.ListPhrasesRequest) -> dataset_pb2.ListPhrasesResponse:
        """The tenant's phrases that begin so, or have a word that does."""
        if not 0 <= request.limit <= MAX_PHRASES:
            raise InvalidInput(f"limit is between 1 and {MAX_PHRASES}")
        found = self._view.pairs.phrases(request.tenant, request.prefix, request.limit or 20)
        return dataset_pb2.ListPhrasesResponse(
            phrases=[dataset_pb2.UsedPhrase(phrase=phrase, pairs=n) for phrase, n in found]
        )

    def statistics(self, request: dataset_pb2.StatisticsRequest) -> dataset_pb2.StatisticsResponse:
        """What was done in a job, or in all."""
        tenant = request.tenant
        if request.job_id:
            self._status(tenant, request.job_id)
            job_ids = [request.job_id]
        else:
            job_ids = self._view.job_ids(tenant, after="", size=0)
        since = request.since.ToMilliseconds() // 60_000 if request.HasField("since") else 0
        stages: defaultdict[concepts_pb2.Stage.ValueType, Sums] = defaultdict(Sums)
        agreements: defaultdict[str, list[float]] = defaultdict(list)
        answer = dataset_pb2.StatisticsResponse()
        for job_id in job_ids:
            spec = self._view.spec(tenant, job_id)
            if spec is None:
                continue
            if not answer.HasField("spec"):
                answer.spec.CopyFrom(spec)
            stages[spec.stage].add(self._view.figures.sums(tenant, job_id), since)
            for annotator, values in self._view.agreements(tenant, job_id).items():
                agreements[annotator] += values
        people: defaultdict[str, dict[concepts_pb2.Stage.ValueType, Counter[str]]] = defaultdict(dict)
        scores: Counter[str] = Counter()
        for stage in sorted(stages):
            found = figures.stage_statistics(stage, stages[stage])
            if found is not None:
                answer.stages.append(found)
            scores.update(stages[stage].models)
            for annotator, sums in stages[stage].people.items():
                people[annotator][stage] = sums
        answer.people.extend(
            sorted(
                (
                    figures.person_statistics(who, by_stage, agreements[who])
                    for who, by_stage in people.items()
                ),
                key=lambda person: (-person.decisions, person.annotator),
            )
        )
        answer.positive_scores.extend(scores[f"sp{at}"] for at in range(domain.BINS))
        answer.negative_scores.extend(scores[f"sn{at}"] for at in range(domain.BINS))
        return answer

    def _status(self, tenant: str, job_id: str) -> dataset_pb2.JobStatus.ValueType:
        job = self._view.job(tenant, job_id)
        if job is None:
            raise NotFound(f"no job {job_id}")
        return job.status

    def _contents(
        self, tenant: str, job_id: str, rows: Sequence[Row]
    ) -> dict[tuple[str, str], _Content | None]:
        """The records that hold the rows' pairs; None where one is gone."""

        def read(where: tuple[str, str]) -> _Content | None:
            image_id, record = where
            try:
                if record == pairs.VERIFIED:
                    content = self._blobs.get(verdicts_key(tenant, job_id, image_id))
                    return records_pb2.ImageVerified.FromString(content)
                content = self._blobs.get(annotation_key(tenant, job_id, image_id, record))
                return records_pb2.AnnotationsAccepted.FromString(content)
            except NotFound:
                return None

        wanted = records_of(rows)
        if not wanted:
            return {}
        with ThreadPoolExecutor(self._settings.dataset_export_threads, "pairs") as pool:
            return dict(zip(wanted, pool.map(read, wanted), strict=True))

    def _listed(
        self, tenant: str, row: Row, found: dict[tuple[str, str], _Content | None]
    ) -> dataset_pb2.ListedPair | None:
        record = found[row.image_id, row.record]
        image = self._view.image(tenant, row.image_id)
        if record is None or image is None:
            return None
        accepted = record if isinstance(record, records_pb2.AnnotationsAccepted) else None
        pair = pairs.find(record.pairs, row.phrase, accepted, row.slot)
        if pair is None:
            return None
        shown = dataset_pb2.ListedPair(image=image.image, pair=pair, waiting=row.waiting)
        shown.pair.verdict = _VERDICTS[row.code]
        return shown
