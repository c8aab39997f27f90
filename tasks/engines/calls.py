"""Many requests to one server: bounded concurrency, a time limit each, retries with growing waits, and no result lost to another's failure."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx

from tasks.engines.options import EngineOptions

T = TypeVar("T")
FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 30.0
PASSING = {408, 409, 425, 429}  # and 500 to 599


class MalformedError(Exception):
    """A response that does not hold what was asked for; asking again may help."""


class RefusedError(Exception):
    """An answer that asking again would not change."""


@dataclass(frozen=True)
class Call:
    """One request to make: its body is built when its turn comes, because audio takes megabytes; `read` checks and reads the response."""

    url: str
    body: Callable[[], Mapping[str, Any]]
    read: Callable[[Any], Any]


def ask_all(calls: Sequence[Call], options: EngineOptions, headers: Mapping[str, str]) -> tuple[dict[int, Any], dict[int, str]]:
    """(results, reasons for having none), each by number of the call; every call is in exactly one of them."""
    return asyncio.run(_ask_all(calls, options, headers))


async def _ask_all(calls: Sequence[Call], options: EngineOptions, headers: Mapping[str, str]) -> tuple[dict[int, Any], dict[int, str]]:
    finished: dict[int, Any] = {}
    failed: dict[int, str] = {}
    gone: list[str] = []  # why the server is given up, once it refused a connection to the last attempt
    turn = asyncio.Semaphore(options.concurrency)

    async def one(number: int, client: httpx.AsyncClient) -> None:
        async with turn:
            try:
                if gone:
                    raise RefusedError(gone[0])
                finished[number] = await _ask(calls[number], client, options)
            except httpx.ConnectError as error:
                gone.append(f"no server answers ({error})")
                failed[number] = gone[0]
            except (RefusedError, MalformedError) as error:
                failed[number] = str(error)

    # The time limit is the whole response's, below: httpx's own are between two bytes.
    async with httpx.AsyncClient(headers=headers, timeout=None, limits=httpx.Limits(max_connections=options.concurrency)) as client:
        await asyncio.gather(*(one(number, client) for number in range(len(calls))))
    return finished, failed


async def _ask(call: Call, client: httpx.AsyncClient, options: EngineOptions) -> Any:
    """What `read` makes of the response. The waits are fixed, so a run can be repeated: 0.5 s, then twice as long each time, at most 30 s."""
    for attempt in range(options.retries + 1):
        last = attempt == options.retries
        try:
            async with asyncio.timeout(options.timeout_s):
                response = await client.post(call.url, json=call.body())
            return _read(call, response)
        except httpx.ConnectError:
            if last:
                raise
        except TimeoutError:
            reason = f"no answer within {options.timeout_s:g} s"
        except httpx.HTTPError as error:
            reason = f"{type(error).__name__}: {error}"
        except MalformedError as error:
            reason = str(error)
        if last:
            raise MalformedError(f"{reason} ({options.retries + 1} attempts)")
        await asyncio.sleep(min(FIRST_WAIT_S * 2**attempt, LONGEST_WAIT_S))
    raise AssertionError("the last attempt returns or raises")


def _read(call: Call, response: httpx.Response) -> Any:
    if response.status_code >= 500 or response.status_code in PASSING:
        raise MalformedError(f"HTTP {response.status_code}")
    if response.status_code != 200:
        raise RefusedError(f"HTTP {response.status_code}: {message_of(response)}")
    try:
        return call.read(response.json())
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise MalformedError(f"malformed response: {type(error).__name__}: {without_key(str(error), response)[:200]}") from None


def message_of(response: httpx.Response) -> str:
    """What a server says of an error, in one line and without the key, which some repeat."""
    try:
        body = response.json()
        text = str(body.get("error", {}).get("message") or body)
    except (ValueError, AttributeError):
        text = response.text
    return without_key(" ".join(text.split()), response)[:300]


def without_key(text: str, response: httpx.Response) -> str:
    """What came back, without the key that was sent."""
    key = response.request.headers.get("Authorization", "").removeprefix("Bearer ")
    return text.replace(key, "<key>") if key else text
