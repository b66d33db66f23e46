"""Guards the routes of a FastAPI application with API keys. Copy this file: it needs an
AsyncConnectionPool in app.state.pool, and nothing else of this example.
"""
import asyncio
import logging
import re
from contextlib import asynccontextmanager
from types import SimpleNamespace

from fastapi import Request, Response
from fastapi.responses import JSONResponse
from fastapi.security import SecurityScopes
from psycopg import AsyncConnection, Error

log = logging.getLogger(__name__)

# The headers are bind parameters (%s): they never become part of the SQL text.
AUTHENTICATE = """
    SELECT status::text, http_status, key_id, account, request_id, headers, error
      FROM keys.vpk_authenticate(%s::text, scope => %s::text, request_id => %s::text,
                                 client_ip => keys.vpk_client_ip(%s::text),
                                 cost => %s::integer)"""
START_TASK = """
    SELECT status::text, http_status, lease, running, allowed, headers, error
      FROM keys.vpk_task_start(%s::text, request_id => %s::text,
                               client_ip => keys.vpk_client_ip(%s::text))"""
FINISH_TASK = "SELECT keys.vpk_task_finish(%s::uuid)"

# Without an answer from the database there is no access.
UNAVAILABLE = SimpleNamespace(
    status="UNAVAILABLE",
    http_status=503,
    headers={},
    error={"error": {"code": "UNAVAILABLE", "message": "The service is temporarily unavailable"}},
)

# What a new connection can mend: this one was lost, or what it has prepared is no longer valid.
MENDABLE = re.compile("0A000|26000|42P05|57P0[123]|08...")

# A database that hangs must not hold requests for long.
SECONDS = 5


class Denied(Exception):
    """A request that gets the answer of the database instead of a route's."""

    def __init__(self, answer):
        self.answer = answer


async def send_denial(request, denied):
    answer = denied.answer
    return JSONResponse(answer.error, status_code=answer.http_status, headers=answer.headers)


async def ask(pool, query, values=(), again=True):
    """Asks the database; if allowed, once more on a new connection where that can help. So allow
    it only for what can be repeated without harm.
    """
    try:
        async with asyncio.timeout(SECONDS), pool.connection() as connection:
            try:
                return await (await connection.execute(query, values)).fetchone()
            except Error as failure:
                lost = connection.closed or MENDABLE.fullmatch(failure.sqlstate or "")
                if not (again and lost):
                    raise
                await connection.close()  # the pool replaces it
        async with asyncio.timeout(SECONDS):  # the pool's other connections may be as old
            async with await AsyncConnection.connect(pool.conninfo, **pool.kwargs) as connection:
                return await (await connection.execute(query, values)).fetchone()
    except (Error, TimeoutError) as failure:
        # Not the whole message: its context can have the parameters.
        sqlstate, diag = getattr(failure, "sqlstate", None), getattr(failure, "diag", None)
        log.error("%s %s", sqlstate or type(failure).__name__, diag and diag.message_primary)
        raise Denied(UNAVAILABLE) from None


def client(request):
    """The client's address. The proxy in front of this service adds it to X-Forwarded-For. Without
    a proxy, return request.client.host instead: a client can send that header too.
    """
    return ", ".join(request.headers.getlist("X-Forwarded-For"))


async def require_key(request: Request, response: Response, scopes: SecurityScopes):
    """Who calls: a dependency of the routes that need a key, and a scope where one is named."""
    return await authenticate(request, response, scopes, 1)


async def require_key_for_task(request: Request, response: Response, scopes: SecurityScopes):
    """The same for a route with a concurrent_task, which takes its cost when it starts."""
    return await authenticate(request, response, scopes, 0)


async def authenticate(request, response, scopes, cost):
    """Who calls. The cost is what the request takes of rate limits and quotas."""
    headers = request.headers
    values = [
        headers.get("Authorization"),
        " ".join(scopes.scopes) or None,
        headers.get("X-Request-Id"),
        client(request),
        cost,
    ]
    answer = await ask(request.app.state.pool, AUTHENTICATE, values)
    log.info("%s %s %s %s", answer.status, answer.key_id, answer.account, answer.request_id)
    if answer.status != "VALID":
        raise Denied(answer)
    response.headers["X-Request-Id"] = answer.request_id
    return answer


@asynccontextmanager
async def concurrent_task(request, caller):
    """One of the concurrent tasks that the account's plan allows. It costs 1 of rate limits and
    quotas. The start is asked once: if its answer is lost, the task may have started. Its lease
    ends after 15 minutes then.
    """
    token = request.headers["Authorization"].split()[-1]  # it has been checked
    values = [token, caller.request_id, client(request)]
    task = await ask(request.app.state.pool, START_TASK, values, again=False)
    if task.status != "VALID":
        raise Denied(task)
    try:
        yield task
    finally:
        try:
            await ask(request.app.state.pool, FINISH_TASK, [task.lease])
        except Denied:
            pass  # it is in the log, and the lease ends by itself
