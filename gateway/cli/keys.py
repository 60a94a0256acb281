"""`tercet keys`: API keys of the tenant."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from gateway.cli.session import Json, client_of, print_json, print_table, stderr, stdout


class Role(StrEnum):
    """As in gateway.schemas; a test holds them equal. (Typer takes no list of a Literal.)"""

    SUBMITTER = "submitter"
    ANNOTATOR = "annotator"
    VERIFIER = "verifier"
    LEAD = "lead"
    ADMIN = "admin"


app = typer.Typer(help="API keys.", no_args_is_help=True)


@app.command()
def create(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Whose key, or for what.", show_default=False)],
    role: Annotated[list[Role], typer.Option("--role", "-r", help="What it may do; repeat for more.")],
    tenant: Annotated[str | None, typer.Option(help="Owner. Default: your own.")] = None,
    as_json: Json = False,
) -> None:
    """Make a key. The secret is shown this once: stdout has it alone."""
    with client_of(context) as client:
        key = client.create_key(name, [each.value for each in role], tenant=tenant)
    if as_json:
        print_json(key)
        return
    stderr().print(
        f"{key.id} for {key.name} ({', '.join(key.roles)}); the secret is not shown again:", markup=False
    )
    stdout().print(key.token, markup=False, soft_wrap=True)


@app.command("list")
def list_keys(context: typer.Context, as_json: Json = False) -> None:
    """Keys without their secrets, oldest first."""
    with client_of(context) as client:
        found = client.keys()
    if as_json:
        print_json(found)
        return
    print_table(
        ["key", "name", "tenant", "roles", "created", "by"],
        ([k.id, k.name, k.tenant, ", ".join(k.roles), k.created_at, k.created_by] for k in found),
        empty="no keys",
    )


@app.command()
def revoke(
    context: typer.Context,
    key_id: Annotated[str, typer.Argument(help="Key id.", show_default=False)],
    as_json: Json = False,
) -> None:
    """Refuse a key from now on."""
    with client_of(context) as client:
        client.revoke_key(key_id)
    if as_json:
        print_json({"revoked": key_id})
    else:
        stdout().print(f"{key_id} is revoked", markup=False)
