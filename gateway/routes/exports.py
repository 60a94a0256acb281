"""Dataset files."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Request, Response

from gateway import views
from gateway.routes.documentation import problems
from gateway.schemas import Export, ExportList, ExportRequest
from gateway.security import AnyKey, Submitter
from gateway.state import state_of
from tercet.v1 import dataset_pb2

router = APIRouter(prefix="/v1/exports", tags=["exports"])

ExportId = Annotated[str, Path(description="Export id.", max_length=100)]


@router.post(
    "",
    status_code=201,
    summary="Make an export",
    responses={
        201: {"headers": {"Location": {"description": "The export.", "schema": {"type": "string"}}}},
        **problems(400, 404, 413, 422),
    },
)
def create_export(request: Request, response: Response, key: Submitter, body: ExportRequest) -> Export:
    """Write the accepted annotations to a file. The same annotations always make the same file and id."""
    made = state_of(request).dataset.CreateExport(
        dataset_pb2.CreateExportRequest(
            tenant=key.tenant, job_ids=body.job_ids, format=views.EXPORT_FORMATS[body.format]
        )
    )
    response.headers["Location"] = f"/v1/exports/{made.id}"
    return views.export(made)


@router.get("", summary="List exports", responses=problems())
def list_exports(request: Request, key: AnyKey) -> ExportList:
    """The tenant's exports, newest first."""
    found = state_of(request).dataset.ListExports(dataset_pb2.ListExportsRequest(tenant=key.tenant))
    return ExportList(items=[views.export(item) for item in found.exports])


@router.get("/{export_id}", summary="Show an export", responses=problems(404))
def get_export(request: Request, key: AnyKey, export_id: ExportId) -> Export:
    """What is in the file."""
    return views.export(_export(request, key.tenant, export_id))


@router.get(
    "/{export_id}/content",
    summary="Download an export",
    response_class=Response,
    responses={
        200: {
            "description": "The file; `ETag` holds its SHA-256.",
            "content": {"application/json": {"schema": {"type": "object"}}},
        },
        **problems(404),
    },
)
def get_export_content(request: Request, key: AnyKey, export_id: ExportId) -> Response:
    """The dataset file."""
    found = _export(request, key.tenant, export_id)
    content = state_of(request).adapters.blobs.fetch(found.blob)
    shown = views.export(found)
    return Response(
        content,
        media_type="application/json",
        headers={
            "ETag": f'"{found.blob.sha256}"',
            "Content-Disposition": f'attachment; filename="{shown.id}.{shown.format}.json"',
        },
    )


def _export(request: Request, tenant: str, export_id: str) -> dataset_pb2.Export:
    return state_of(request).dataset.GetExport(
        dataset_pb2.GetExportRequest(tenant=tenant, export_id=export_id)
    )
