"""An API whose callers have API keys. Run:
python3 -m venv .venv && .venv/bin/pip install -r requirements.txt
PGHOST=... PGDATABASE=... PGUSER=... .venv/bin/python server.py
"""
import logging
import os
import uuid
from contextlib import asynccontextmanager
from typing import Annotated, Any

import uvicorn
from fastapi import FastAPI, Request, Security
from psycopg.rows import namedtuple_row
from psycopg_pool import AsyncConnectionPool

from api_keys import Denied, ask, concurrent_task, require_key, require_key_for_task, send_denial

# pgbouncer before 1.21 mixes up prepared statements in transaction mode: see docs/poolers.md.
THRESHOLD = None if os.environ.get("UNNAMED_STATEMENTS") else 5


@asynccontextmanager
async def lifespan(app):
    # PGHOST, PGDATABASE, PGUSER, ... say where.
    settings = {
        "autocommit": True,
        "connect_timeout": 5,
        "prepare_threshold": THRESHOLD,
        "row_factory": namedtuple_row,
    }
    pool = AsyncConnectionPool(kwargs=settings, open=False, max_size=10, reconnect_timeout=5)
    async with pool:
        app.state.pool = pool
        yield


app = FastAPI(lifespan=lifespan)
app.add_exception_handler(Denied, send_denial)


@app.get("/health")
async def health():
    """Open to everybody. Whether this service can answer depends on the database."""
    await ask(app.state.pool, "SELECT 1")
    return {"status": "ok"}


@app.get("/v1/tasks/{task_id}")
async def read_task(task_id: str, caller: Annotated[Any, Security(require_key)]):
    return {"id": task_id, "account": caller.account, "status": "done"}


@app.post("/v1/tasks", status_code=201)
async def create_task(
    request: Request, caller: Annotated[Any, Security(require_key_for_task, scopes=["tasks:write"])]
):
    async with concurrent_task(request, caller) as task:
        # Here the task does its work.
        return {
            "id": uuid.uuid4(),
            "account": caller.account,
            "status": "done",
            "running": task.running,
            "allowed": task.allowed,
        }


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    # Without uvicorn's log of requests: it has paths, in which a client may have put its key.
    uvicorn.run(app, port=int(os.environ.get("PORT", 8080)), access_log=False)
