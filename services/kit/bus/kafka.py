"""The bus on Apache Kafka."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from time import monotonic

from services.core.errors import Conflict, Unavailable
from services.kit.bus import limits, metrics
from services.kit.bus.kafka_consumer import KafkaMember
from services.kit.bus.kafka_lag import KafkaLag
from services.kit.bus.kafka_reader import KafkaReader
from services.kit.bus.kafka_settings import KafkaSettings
from services.kit.bus.kafka_transactions import Transactions, Unanswered
from services.kit.bus.ports import Message, PartitionLag, Record
from services.kit.clock import Clock, SystemClock


class KafkaBus:
    """A `Bus` on Kafka. Nothing connects before it is used.

    `PartitionLag.records` are offsets behind: they count the marker that each transaction leaves in a
    partition, so that they are at most too high by the transactions unread, and 0 exactly when no record is
    unread.
    """

    def __init__(
        self, bootstrap: str, *, settings: KafkaSettings | None = None, clock: Clock | None = None
    ) -> None:
        self._bootstrap = bootstrap
        self._settings = settings if settings is not None else KafkaSettings()
        self._in_flight = limits.InFlight(self._settings.in_flight_bytes)
        self._reader = KafkaReader(bootstrap, self._settings)
        self._lag = KafkaLag(
            bootstrap, self._settings, self._reader, clock if clock is not None else SystemClock()
        )
        self._lock = threading.Lock()
        self._numbers: dict[str, set[int]] = {}
        self._closed = False
        self._idle: queue.LifoQueue[Transactions] = queue.LifoQueue()
        self._publishers = [
            self._transactions(
                f"publish-{self._settings.instance}-{number}", self._settings.publish_timeout_seconds
            )
            for number in range(self._settings.publishers)
        ]
        self._started = False

    def publish(self, messages: Sequence[Message]) -> None:
        """Write all of the messages or none (see `Bus.publish`).

        When the answer to the commit is lost, whether it happened is found out by reading.
        """
        self._check_open()
        total = limits.check(messages)
        if not messages:
            return
        started = monotonic()
        with self._in_flight.hold(total):
            self._start_publishers()
            try:
                transactions = self._idle.get(timeout=self._settings.answer_seconds)
            except queue.Empty:
                raise Unavailable("all producers are busy") from None
            try:
                self._publish(transactions, messages)
            finally:
                self._idle.put(transactions)
        metrics.PUBLISH_SECONDS.observe(monotonic() - started)
        for message in messages:
            metrics.PUBLISHED_BYTES.labels(message.topic).inc(limits.size(message))

    def subscribe(self, *, group: str, topics: Sequence[str]) -> KafkaMember:
        """A new member of the group (see `Bus.subscribe`)."""
        self._check_open()
        self._reader.partitions(topics)
        with self._lock:
            taken = self._numbers.setdefault(group, set())
            number = next(number for number in range(len(taken) + 1) if number not in taken)
            taken.add(number)
        transactions = self._transactions(
            f"{group}-{self._settings.instance}-{number}", self._settings.transaction_timeout_seconds
        )
        try:
            transactions.start()  # ends what a predecessor of this process left open
            return KafkaMember(
                self._bootstrap,
                self._settings,
                group=group,
                topics=topics,
                transactions=transactions,
                on_close=lambda: self._release(group, number),
            )
        except Unavailable:
            transactions.discard()
            self._release(group, number)
            raise

    def read(self, topics: Sequence[str], *, since_ms: int | None = None) -> Iterator[Record]:
        """Committed records to the end as it is now (see `Bus.read`)."""
        self._check_open()
        return self._reader.read(self._reader.spans(topics, since_ms))

    def writer(self, name: str) -> KafkaWriter:
        """Become the one writer of the name (see `Bus.writer`): its producer fences the one before."""
        self._check_open()
        transactions = self._transactions(f"writer-{name}", self._settings.publish_timeout_seconds)
        transactions.start()
        return KafkaWriter(transactions, self._in_flight)

    def lag(self) -> tuple[PartitionLag, ...]:
        """Lag of every group (see `Bus.lag`), at most `lag_seconds` old."""
        self._check_open()
        return self._lag.lag()

    def close(self) -> None:
        """Close what the bus itself opened; consumers and writers are closed by those who asked for them."""
        self._closed = True
        if self._started:
            for _ in self._publishers:
                with suppress(queue.Empty):
                    self._idle.get(timeout=self._settings.answer_seconds).close()
        self._lag.close()
        self._reader.close()

    def _start_publishers(self) -> None:
        """With the first publish, all of them: each ends what a predecessor of this process left open."""
        with self._lock:
            if not self._started:
                for transactions in self._publishers:
                    transactions.start()
                for transactions in self._publishers:
                    self._idle.put(transactions)
                self._started = True

    def _publish(self, transactions: Transactions, messages: Sequence[Message]) -> None:
        try:
            transactions.run(messages)
        except Unanswered as error:
            if not self._happened(transactions, error):
                raise Unavailable(f"nothing was written: {error}") from error
        except Conflict as error:
            raise Unavailable(f"{error}; is {self._settings.instance} the name of two processes?") from error
        except Unavailable:
            with suppress(Unavailable):
                transactions.start()  # readers wait behind an open transaction: this ends it now
            raise

    def _happened(self, transactions: Transactions, error: Unanswered) -> bool:
        """Whether an unanswered commit happened. Raises the error when Kafka stays away."""
        deadline = monotonic() + self._settings.answer_seconds
        while True:
            try:
                transactions.start()  # settles it, one way or the other
                # All or nothing: one record tells.
                return self._reader.holds(*next(iter(error.written.items())))
            except Unavailable:
                if monotonic() > deadline:
                    raise error from None

    def _transactions(self, name: str, timeout_seconds: float) -> Transactions:
        return Transactions(
            self._bootstrap,
            self._settings,
            f"tercet-{name}",
            timeout_seconds=timeout_seconds,
            note=self._reader.note,
        )

    def _release(self, group: str, number: int) -> None:
        with self._lock:
            self._numbers[group].discard(number)

    def _check_open(self) -> None:
        if self._closed:
            raise Unavailable("the bus is closed")


class KafkaWriter:
    """A `Writer` on Kafka. It never starts a second producer, which would fence the writer after it."""

    def __init__(self, transactions: Transactions, in_flight: limits.InFlight) -> None:
        self._transactions: Transactions | None = transactions
        self._in_flight = in_flight

    def publish(self, messages: Sequence[Message]) -> None:
        """See `Writer.publish`. After a failure, whatever it was, a new writer is needed."""
        if self._transactions is None:
            raise Conflict("this writer has failed or is closed; nothing was written")
        with self._in_flight.hold(limits.check(messages)):
            try:
                self._transactions.run(messages)
            except (Unavailable, Conflict):
                self._transactions = None
                raise

    def close(self) -> None:
        """See `Writer.close`."""
        transactions, self._transactions = self._transactions, None
        if transactions is not None:
            transactions.close()
