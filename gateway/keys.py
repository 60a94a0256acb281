"""API keys: who asks, and what they may do.

A token is 256 random bits, so its plain SHA-256 is as good a secret as a slow hash would be of a password.
Only the hash is kept: `_system/keys/<sha256 of the token>` in the object store, which no tenant's name can
reach.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, get_args

from gateway.schemas import Role
from services.core.errors import Forbidden, Internal, NotFound, Unauthenticated
from services.core.kept import Kept
from services.kit.blobs.ports import Blobs
from services.kit.clock import Clock

PREFIX: Final = "_system/keys/"
TOKEN_PREFIX: Final = "tercet_"
BOOTSTRAP: Final = "bootstrap"
_CACHED: Final = 10_000
_LONGEST_TOKEN: Final = 200
_ROLES: Final[frozenset[str]] = frozenset(get_args(Role))
# What a role may do besides what it is called.
_INCLUDED: Final[dict[str, frozenset[str]]] = {
    "admin": _ROLES,
    "lead": frozenset({"lead", "submitter", "annotator", "verifier"}),
}


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key without its secret. `digest` is the SHA-256 of the token, in hex."""

    id: str
    name: str
    tenant: str
    roles: tuple[Role, ...]
    created_at: datetime
    created_by: str
    digest: str

    def may(self, *roles: Role) -> bool:
        """Whether it has one of the roles, or one that includes them."""
        held = frozenset[str]().union(*(_INCLUDED.get(role, frozenset({role})) for role in self.roles))
        return not held.isdisjoint(roles)

    def require(self, *roles: Role) -> None:
        """Raises `Forbidden` unless it may act in one of the roles."""
        if not self.may(*roles):
            raise Forbidden(
                f"this needs a key with the role {' or '.join(roles)}; yours: {', '.join(self.roles)}"
            )


class KeyRing:
    """The keys in an object store. What it said, also "unknown", counts for `cache_seconds`. Thread-safe."""

    def __init__(self, blobs: Blobs, clock: Clock, *, cache_seconds: float) -> None:
        self._blobs = blobs
        self._clock = clock
        self._cache_seconds = cache_seconds
        self._cache: Kept[str, tuple[float, ApiKey | None]] = Kept(_CACHED)
        """By digest, with the time until which it counts."""

    def authenticate(self, authorization: str | None) -> ApiKey:
        """The key of an `Authorization` header. Raises `Unauthenticated`."""
        if not authorization:
            raise Unauthenticated("send an API key: `Authorization: Bearer <token>`")
        scheme, _, token = authorization.partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token:
            raise Unauthenticated("the Authorization header must be `Bearer <token>`")
        key = self._find(token) if token.startswith(TOKEN_PREFIX) and len(token) <= _LONGEST_TOKEN else None
        if key is None:
            raise Unauthenticated("this API key is not known, or was revoked")
        return key

    def create(self, *, name: str, tenant: str, roles: Sequence[Role], created_by: str) -> tuple[ApiKey, str]:
        """A new key and its token, which is not kept."""
        token = TOKEN_PREFIX + secrets.token_urlsafe(32)
        key = ApiKey(
            id=f"key_{secrets.token_hex(8)}",
            name=name,
            tenant=tenant,
            roles=tuple(sorted(set(roles))),
            created_at=datetime.fromtimestamp(self._clock.now(), UTC),
            created_by=created_by,
            digest=_digest(token),
        )
        self._blobs.put(PREFIX + key.digest, _encode(key))
        self._cache.forget(key.digest)
        return key, token

    def of_tenant(self, tenant: str) -> list[ApiKey]:
        """The tenant's keys, oldest first."""
        return [key for key in self._all() if key.tenant == tenant]

    def revoke(self, tenant: str, key_id: str) -> None:
        """Forget the key. Raises `NotFound`. Other processes may know it for `cache_seconds` more."""
        for key in self.of_tenant(tenant):
            if key.id == key_id:
                self._blobs.delete(PREFIX + key.digest)
                self._cache.forget(key.digest)
                return
        raise NotFound(f"no key {key_id}")

    def _all(self) -> list[ApiKey]:
        keys = []
        for path in self._blobs.list(PREFIX):
            digest = path.removeprefix(PREFIX)
            try:
                keys.append(_decode(digest, self._blobs.get(path)))
            except NotFound:
                continue  # revoked meanwhile
        return sorted(keys, key=lambda key: (key.created_at, key.id))

    def _find(self, token: str) -> ApiKey | None:
        digest = _digest(token)
        now = self._clock.monotonic()
        known = self._cache.get(digest)
        if known is not None and now < known[0]:
            return known[1]
        try:
            key = _decode(digest, self._blobs.get(PREFIX + digest))
        except NotFound:
            key = None
        self._cache.put(digest, (now + self._cache_seconds, key))
        return key


def ensure_local_key(ring: KeyRing, key_file: Path, *, tenant: str = "default") -> str | None:
    """Local mode: unless `key_file` holds a key that works, make an admin's and write it there (mode 0600).

    Returns the new token, to be printed once; None where the file's key works.
    """
    if key_file.is_file():
        try:
            ring.authenticate(f"Bearer {key_file.read_text('utf-8').strip()}")
        except Unauthenticated:
            pass  # of another state folder, or revoked
        else:
            return None
    _, token = ring.create(name="local admin", tenant=tenant, roles=["admin"], created_by=BOOTSTRAP)
    key_file.parent.mkdir(parents=True, exist_ok=True)
    partial = key_file.with_name(f".{key_file.name}.{secrets.token_hex(4)}")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(token + "\n")
    partial.replace(key_file)
    return token


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _encode(key: ApiKey) -> bytes:
    return json.dumps(
        {
            "id": key.id,
            "name": key.name,
            "tenant": key.tenant,
            "roles": key.roles,
            "created_at": key.created_at.isoformat(),
            "created_by": key.created_by,
        }
    ).encode()


def _decode(digest: str, stored: bytes) -> ApiKey:
    try:
        fields = json.loads(stored)
        return ApiKey(
            id=fields["id"],
            name=fields["name"],
            tenant=fields["tenant"],
            roles=tuple(role for role in fields["roles"] if role in _ROLES),
            created_at=datetime.fromisoformat(fields["created_at"]),
            created_by=fields["created_by"],
            digest=digest,
        )
    except (ValueError, KeyError, TypeError) as error:
        raise Internal(f"the stored key {digest[:12]} cannot be read: {error}") from error
