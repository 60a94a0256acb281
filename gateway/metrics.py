"""What the gateway counts, for Prometheus. Times are in seconds."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

REQUESTS = Counter("tercet_http_requests_total", "Requests answered.", ("method", "route", "status"))
REQUEST_SECONDS = Histogram(
    "tercet_http_request_seconds",
    "From a request's first byte to its answer's last.",
    ("method", "route"),
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300),
)
IMAGES = Counter(
    "tercet_images_admitted_total",
    "Images submitted, by outcome: taken, duplicate or a refusal's code.",
    ("outcome",),
)
UPLOADS = Gauge("tercet_uploads_in_flight", "Submissions under way.")
UPLOADS_REFUSED = Counter("tercet_uploads_refused_total", "Submissions refused as overload.")
JOBS = Counter("tercet_jobs_created_total", "Jobs committed to the log.", ("stage",))
EVENT_STREAMS = Gauge("tercet_event_streams", "Clients that watch a job.")
WEBHOOKS = Counter(
    "tercet_webhooks_total", "Attempts at webhooks, by outcome: delivered, retried or given_up.", ("outcome",)
)
WEBHOOKS_WAITING = Gauge("tercet_webhooks_waiting", "Webhooks that wait for an attempt.")
