"""Settings of the dataset service."""

from __future__ import annotations

from pydantic import Field

from services.kit.settings import KitSettings


class DatasetSettings(KitSettings):
    """Watching and pages."""

    dataset_watch_seconds: float = Field(
        0.25, gt=0, description="How often a watched job is looked at for changes."
    )
    dataset_export_threads: int = Field(
        8, ge=1, description="Annotations of record that an export reads at the same time."
    )
    dataset_watchers: int = Field(
        10, ge=1, description="Jobs that may be watched at the same time; more are refused as overload."
    )
