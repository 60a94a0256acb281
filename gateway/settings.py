"""Settings of the gateway, besides those that every process has."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, SecretStr

from services.kit.settings import KitSettings

MIB = 1024 * 1024


class GatewaySettings(KitSettings):
    """What the gateway needs to know. The defaults are the local stack's."""

    gateway_host: str = Field("127.0.0.1", description="Interface that the gateway listens on.")
    gateway_port: int = Field(8080, description="Port that the gateway listens on.")
    public_url: str = Field(
        "", description="Where clients reach the gateway, for links in webhooks and the OpenAPI document."
    )

    local: bool = Field(
        False,
        description="Local mode: where there is no API key, make an admin's, print it and keep it in a file.",
    )
    key_file: Path = Field(
        Path(".tercet/api-key"), description="Where local mode keeps its key, readable by its owner only."
    )
    key_cache_seconds: float = Field(
        10.0,
        ge=0,
        description="How long a key is known without asking the object store; a revoked one lives as long.",
    )
    operator_tenant: str = Field(
        "default",
        description="Admins of this tenant make keys for others and see all dead letters; empty: none do.",
    )

    rate_per_second: float = Field(
        50.0, gt=0, description="Requests a second that a key may make in the long run."
    )
    rate_burst: int = Field(200, ge=1, description="Requests that a key may make at once.")

    max_images: int = Field(
        5000,
        ge=1,
        le=6000,
        description="Most images in one job, the refused included; one record lists them.",
    )
    max_body_bytes: int = Field(4096 * MIB, ge=1, description="Largest body of a submission.")
    max_image_bytes: int = Field(32 * MIB, ge=1, description="Largest encoded image.")
    max_image_pixels: int = Field(
        40_000_000, ge=1, description="Most pixels of an image, read off its header."
    )
    max_image_side: int = Field(16_384, ge=1, description="Longest side of an image in pixels.")
    max_json_bytes: int = Field(8 * MIB, ge=1, description="Largest JSON body.")
    body_idle_seconds: float = Field(
        30.0, gt=0, description="A submission whose body pauses for longer is given up."
    )
    inline_job_bytes: int = Field(
        32 * MIB,
        ge=0,
        description="Image bytes that a job may carry inside its records; further images are claim checks.",
    )
    upload_bytes: int = Field(
        512 * MIB,
        ge=1,
        description="Memory that all submissions under way may hold together; more are refused.",
    )
    uploads: int = Field(16, ge=1, description="Submissions under way at the same time; more are refused.")
    decode_workers: int = Field(2, ge=1, description="Images decoded at the same time.")

    max_archive_entries: int = Field(20_000, ge=1, description="Most entries of a zip, folders included.")
    max_archive_ratio: float = Field(
        200.0,
        ge=1,
        description="Most bytes that one byte of a zip entry may become (of entries above 1 MiB).",
    )

    fetch_allowed: tuple[str, ...] = Field(
        (),
        description="Private hosts, addresses or CIDRs that may be reached all the same, as JSON list.",
    )
    fetch_ports: tuple[int, ...] = Field(
        (80, 443), description="Ports of addresses to fetch from, as JSON list."
    )
    fetch_redirects: int = Field(3, ge=0, description="Redirects followed.")
    fetch_seconds: float = Field(30.0, gt=0, description="Seconds for one image, redirects included.")
    fetch_job_seconds: float = Field(
        300.0, gt=0, description="Seconds for all images of a job; those not had by then are refused."
    )
    fetch_parallel: int = Field(4, ge=1, description="Images of a job that are fetched at the same time.")
    source_roots: tuple[str, ...] = Field(
        (),
        description='Object-store URLs below which jobs may name images, e.g. ["s3://bucket/pictures"].',
    )

    webhook_secret: SecretStr | None = Field(
        None, description="Signs webhooks (HMAC-SHA256); unset: they carry no signature."
    )
    webhook_seconds: float = Field(10.0, gt=0, description="Seconds for one attempt at a webhook.")
    webhook_attempts: int = Field(8, ge=1, description="Attempts at a webhook before it is given up.")
    webhook_backoff: float = Field(
        2.0, gt=0, description="Seconds before the second attempt; doubled each time."
    )
    webhook_backoff_limit: float = Field(3600.0, gt=0, description="Most seconds between two attempts.")
    webhook_parallel: int = Field(4, ge=1, description="Webhooks posted at the same time.")

    ontology: Path | None = Field(None, description="Ontology file (JSON); unset: the one of Tercet.")
    hourly_rate: float = Field(
        20.0,
        ge=0,
        description="US dollars that an hour of a person's active time costs, for the statistics' cost.",
    )

    publish_seconds: float = Field(
        75.0,
        gt=0,
        description="A submission still unknown to the log after so long may be taken over by a retry.",
    )
    event_streams: int = Field(
        500, ge=1, description="Clients that watch jobs at the same time; more are refused."
    )
    heartbeat_seconds: float = Field(
        15.0, gt=0, description="Seconds between signs of life on an event stream."
    )
    overlay_side: int = Field(
        2048, ge=64, description="Longest side of an overlay picture; larger ones are scaled."
    )
    connections: int = Field(
        2000, ge=1, description="Connections and requests at the same time; more are refused."
    )
    threads: int = Field(32, ge=4, description="Requests worked at the same time.")
