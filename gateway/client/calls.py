"""One definition of each call for both clients: a method that is a flow, performed by the client it is of."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from functools import wraps
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Protocol, TypeVar, cast, overload

import httpx
from pydantic import BaseModel, ValidationError

from gateway.client.errors import Unexpected
from gateway.client.flow import Flow, Items, Request
from gateway.client.retry import Retrying
from gateway.client.settings import ClientSettings

if TYPE_CHECKING:
    from gateway.client.async_client import AsyncClient
    from gateway.client.client import Client

P = ParamSpec("P")
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
ModelT = TypeVar("ModelT", bound=BaseModel)


class Call(Protocol[P, T_co]):
    """A method with one answer, to be awaited where the client is asynchronous."""

    @overload
    def __get__(self, client: Client, owner: object) -> Callable[P, T_co]: ...
    @overload
    def __get__(self, client: AsyncClient, owner: object) -> Callable[P, Coroutine[Any, Any, T_co]]: ...


class Listing(Protocol[P, T_co]):
    """A method with many answers, to be iterated."""

    @overload
    def __get__(self, client: Client, owner: object) -> Callable[P, Iterator[T_co]]: ...
    @overload
    def __get__(self, client: AsyncClient, owner: object) -> Callable[P, AsyncIterator[T_co]]: ...


def call(flow: Callable[Concatenate[Any, P], Flow[T]]) -> Call[P, T]:
    """The flow as a method of both clients, giving what it returns."""

    @wraps(flow)
    def performed(client: Any, *args: P.args, **kwargs: P.kwargs) -> Any:
        return client._run(flow(client, *args, **kwargs))

    return cast(Call[P, T], performed)


def listing(flow: Callable[Concatenate[Any, P], Items[T]]) -> Listing[P, T]:
    """The flow as a method of both clients, giving what it emits."""

    @wraps(flow)
    def performed(client: Any, *args: P.args, **kwargs: P.kwargs) -> Any:
        return client._iterate(flow(client, *args, **kwargs))

    return cast(Listing[P, T], performed)


class Calls:
    """What every call is made of."""

    def __init__(self, settings: ClientSettings) -> None:
        self.settings = settings
        self._retrying = Retrying(settings.url, settings.attempts, settings.backoff, settings.longest_pause)

    def _model(self, model: type[ModelT], request: Request) -> Flow[ModelT]:
        response = yield from self._retrying.call(request)
        return parsed(model, response)

    def _bytes(self, request: Request) -> Flow[bytes]:
        response = yield from self._retrying.call(request)
        return response.content

    def _done(self, request: Request) -> Flow[None]:
        yield from self._retrying.call(request)


def parsed(model: type[ModelT], response: httpx.Response) -> ModelT:
    """The answer as a model. Raises `Unexpected`."""
    try:
        return model.model_validate_json(response.content)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()[:3])
        raise Unexpected(
            f"{response.request.url} did not answer with {model.__name__} ({wrong}). "
            "Is it a Tercet gateway of this version?"
        ) from error
