"""Wires the gateway: adapters and settings in, an application and its background work out."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import grpc
from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from gateway.accepted import AcceptedJobs
from gateway.addresses import AddressPolicy
from gateway.app import create_app
from gateway.fetching import FetchLimits, Resolve, SafeFetcher, resolve_by_system
from gateway.idempotency import IdempotencyKeys
from gateway.keys import KeyRing, ensure_local_key
from gateway.limiting import RateLimiter
from gateway.reading import SubmissionReader
from gateway.settings import GatewaySettings
from gateway.sources import SourceRoots
from gateway.state import GatewayState
from gateway.submission import Submissions
from gateway.suggestions import Suggestions
from gateway.watching import JobWatch
from gateway.webhooks import GROUP, Webhooks
from services.core import phrases
from services.core.errors import InvalidInput
from services.core.ontology import Ontology
from services.kit.bus.lag import LagCollector
from services.kit.bus.topics import JOBS_EVENTS
from services.kit.bus.worker import Worker
from services.kit.rpc.client import connect
from services.kit.service import Adapters
from tercet.v1 import dataset_pb2_grpc, mining_pb2_grpc, proposer_pb2_grpc, segmenter_pb2_grpc


@dataclass(frozen=True, slots=True)
class Gateway:
    """A gateway, built and not yet running.

    `app` is served by uvicorn; `workers` are its Kafka doors, each run in a thread; `background` are further
    functions for threads of their own, which return once `stop` was called. `rebuild` fills in what Redis
    should know from the log and may run at any time. `local_token` makes local mode's key and gives it
    when it is new.
    """

    app: FastAPI
    state: GatewayState
    workers: Sequence[Worker]
    background: Sequence[Callable[[], None]]
    stop: Callable[[], None]
    rebuild: Callable[[], None]
    local_token: Callable[[], str | None]
    close: Callable[[], None]


def build(adapters: Adapters, settings: GatewaySettings, *, resolve: Resolve = resolve_by_system) -> Gateway:
    """The gateway over the adapters; the adapters stay the caller's to close.

    Connects to nothing yet. Raises `InvalidInput` for settings that make no sense.
    """
    try:
        policy = AddressPolicy(settings.fetch_allowed)
        roots = SourceRoots(settings.source_roots)
    except ValueError as error:
        raise InvalidInput(f"TERCET_FETCH_ALLOWED or TERCET_SOURCE_ROOTS: {error}") from error
    to_dataset = connect(settings.dataset_address, settings=settings)
    to_mining = connect(settings.mining_address, settings=settings)
    # Kept for good: a person waits for the answer to a click.
    to_segmenter = connect(settings.segmenter_address, settings=settings)
    to_proposer = connect(settings.proposer_address, settings=settings)
    dataset = dataset_pb2_grpc.DatasetServiceStub(to_dataset)
    decoding = ThreadPoolExecutor(settings.decode_workers, thread_name_prefix="decode")
    probes = ThreadPoolExecutor(8, thread_name_prefix="probe")
    accepted = AcceptedJobs(adapters.redis)
    keys = IdempotencyKeys(
        adapters.redis, adapters.bus, adapters.clock, lease_seconds=settings.publish_seconds
    )
    fetcher = _fetcher(policy, settings, settings.fetch_seconds, resolve)
    reader = SubmissionReader(
        blobs=adapters.blobs, fetcher=fetcher, roots=roots, executor=decoding, settings=settings
    )
    lag_registry = CollectorRegistry(auto_describe=True)
    lag_registry.register(LagCollector(adapters.bus, adapters.clock))
    state = GatewayState(
        settings=settings,
        adapters=adapters,
        keys=KeyRing(adapters.blobs, adapters.clock, cache_seconds=settings.key_cache_seconds),
        limiter=RateLimiter(
            adapters.redis, adapters.clock, per_second=settings.rate_per_second, burst=settings.rate_burst
        ),
        submissions=Submissions(
            reader=reader,
            bus=adapters.bus,
            keys=keys,
            accepted=accepted,
            clock=adapters.clock,
            settings=settings,
        ),
        accepted=accepted,
        dataset=dataset,
        mining=mining_pb2_grpc.MiningServiceStub(to_mining),
        segmenter=segmenter_pb2_grpc.SegmenterServiceStub(to_segmenter),
        proposer=proposer_pb2_grpc.ProposerServiceStub(to_proposer),
        suggestions=Suggestions(Ontology.load(settings.ontology)),
        watch=JobWatch(
            settings.dataset_address,
            accepted,
            clients=settings.event_streams,
            heartbeat=settings.heartbeat_seconds,
        ),
        lag_registry=lag_registry,
        probes=probes,
    )
    webhooks = Webhooks(
        state=adapters.redis,
        dataset=dataset,
        fetcher=_fetcher(policy, settings, settings.webhook_seconds, resolve),
        clock=adapters.clock,
        settings=settings,
    )
    worker = Worker(
        bus=adapters.bus, group=GROUP, topics=[JOBS_EVENTS], handler=webhooks.handle, clock=adapters.clock
    )
    return Gateway(
        app=create_app(state),
        state=state,
        workers=[worker],
        background=[webhooks.run, phrases.warm_up],
        stop=_stopper(state.draining, worker, webhooks),
        rebuild=lambda: _rebuild(keys),
        local_token=lambda: ensure_local_key(state.keys, settings.key_file) if settings.local else None,
        close=_closer(decoding, probes, to_dataset, to_mining, to_segmenter, to_proposer),
    )


def _fetcher(
    policy: AddressPolicy, settings: GatewaySettings, seconds: float, resolve: Resolve
) -> SafeFetcher:
    limits = FetchLimits(
        ports=frozenset(settings.fetch_ports), redirects=settings.fetch_redirects, seconds=seconds
    )
    return SafeFetcher(policy, limits, resolve=resolve)


def _rebuild(keys: IdempotencyKeys) -> None:
    if not keys.filled():
        keys.fill()


def _stopper(draining: threading.Event, worker: Worker, webhooks: Webhooks) -> Callable[[], None]:
    def stop() -> None:
        draining.set()
        worker.stop()
        webhooks.stop()

    return stop


def _closer(
    decoding: ThreadPoolExecutor, probes: ThreadPoolExecutor, *channels: grpc.Channel
) -> Callable[[], None]:
    def close() -> None:
        decoding.shutdown(wait=True, cancel_futures=True)
        probes.shutdown(wait=False, cancel_futures=True)
        for channel in channels:
            channel.close()

    return close
