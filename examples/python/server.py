"""A minimal HTTP server that asks PostgreSQL who calls. Run:
python3 -m venv .venv && .venv/bin/pip install -r requirements.txt
PGHOST=... PGDATABASE=... PGUSER=... .venv/bin/python server.py
"""
import json
import os
import re
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from psycopg import Error, connect
from psycopg_pool import ConnectionPool

# The headers are bind parameters (%s): they never become part of the SQL text. The proxy in front
# of this service adds the client's address to X-Forwarded-For. Without a proxy, pass
# self.client_address[0] instead: a client can send that header too.
AUTHENTICATE = """SELECT status::text, http_status, key_id, account, headers, error
                    FROM keys.vpk_authenticate(
                             %s::text, client_ip => keys.vpk_client_ip(%s::text))"""


# What a new connection can mend: this one was lost, or what it has prepared is no longer valid. The
# query changes nothing, so that it can be asked again.
MENDABLE = re.compile("0A000|26000|42P05|57P0[123]|08...")


def authenticate(headers):
    with pool.connection() as connection:
        try:
            return connection.execute(AUTHENTICATE, headers).fetchone()
        except Error as failure:
            if not connection.closed and not MENDABLE.fullmatch(failure.sqlstate or ""):
                raise
            connection.close()  # the pool replaces it
    with connect(autocommit=True) as connection:  # the pool's others may be as old
        return connection.execute(AUTHENTICATE, headers).fetchone()


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        # No text of SQL has a NUL; in a header it may be taken for a space (RFC 9110).
        authorization = self.headers.get("Authorization", "").replace("\0", " ")
        forwarded = ", ".join(self.headers.get_all("X-Forwarded-For", [])).replace("\0", " ")
        try:
            row = authenticate([authorization, forwarded])
        except Error as failure:  # no database, no access
            self.log_error("%s", failure)
            return self.send(503, {}, {"error": {"code": "UNAVAILABLE"}})
        status, http_status, key_id, account, headers, error = row
        self.log_message("%s %s %s", status, key_id, account)
        if status != "VALID":
            return self.send(http_status, headers, error)
        self.send(200, {}, {"hello": account})

    def send(self, status, headers, body):
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())


if __name__ == "__main__":  # PGHOST, PGDATABASE, PGUSER, ... say where
    pool = ConnectionPool(kwargs={"autocommit": True}, open=True, timeout=5, reconnect_timeout=5)
    ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", 8080))), Handler).serve_forever()
