#!/usr/bin/env python3
"""Sends the requests of requests.json to a service and checks its answers: see README.md."""
import argparse
import http.client
import json
import pathlib
import re
import subprocess
import sys
import threading
import time
import urllib.parse
import uuid

FOLDER = pathlib.Path(__file__).parent
TOKEN = re.compile(r"vpk_(live|test)_[0-9A-Za-z]{32}")
CLIENTS = 4
# In seconds: who does not answer until then hangs.
PATIENCE = 300
# Header fields that say why a request is denied.
OF_DENIALS = [
    "WWW-Authenticate",
    "Retry-After",
    "RateLimit",
    "RateLimit-Policy",
    "X-RateLimit-Limit",
    "X-RateLimit-Remaining",
    "X-RateLimit-Reset",
]

# Limits of two requests of a key, by the codes of a third.
LIMITS_OF_TWO = {
    "RATE_LIMITED": "vpk_set_rate_limit('hour', 2, '1 hour', id => '{}')",
    "QUOTA_EXCEEDED": "vpk_set_quota(2, 'total', id => '{}')",
}


def psql(*arguments):
    """What psql prints. PGHOST and its like say where; the role is an admin of the keys."""
    command = ["psql", "-XqAt", "-v", "ON_ERROR_STOP=1", *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, encoding="utf-8").stdout


def new_key(name):
    """The id and the token of a key that may start tasks."""
    arguments = f"'{name}', 'conformance Plus', scopes => '{{tasks:write}}'"
    return psql("-c", f"SELECT id, token FROM keys.vpk_create({arguments})").strip().split("|")


class Service:
    """Sends requests, over one connection for each thread."""

    def __init__(self, url, behind_proxy):
        self.address = urllib.parse.urlsplit(url)
        self.behind_proxy = behind_proxy
        self.local = threading.local()

    def send(self, request, keys):
        """Sends a request of the list; returns status, header fields and body of the answer."""
        fields = []
        for name, values in request["headers"].items():
            for value in [values] if isinstance(values, str) else values:
                fields.append((name, re.sub(r"\{(\w+)\}", lambda key: keys[key[1]], value)))
        if not self.behind_proxy:
            fields = with_address(fields)
        if request["method"] == "POST":
            fields.append(("Content-Length", "0"))
        if not hasattr(self.local, "connection"):
            self.local.connection = http.client.HTTPConnection(
                self.address.hostname, self.address.port, timeout=PATIENCE
            )
        connection = self.local.connection
        reused = connection.sock is not None
        try:
            connection.putrequest(request["method"], request["path"])
            for name, value in fields:
                connection.putheader(name, value.encode("latin-1"))
            connection.endheaders()
            response = connection.getresponse()
            return response.status, response.headers, response.read()
        except (OSError, http.client.HTTPException) as error:
            connection.close()  # the next request connects again
            if reused and isinstance(error, (http.client.RemoteDisconnected, BrokenPipeError)):
                return self.send(request, keys)  # a service closes what is idle
            raise


def with_address(fields):
    """Adds the client's address, as a proxy in front of the service does."""
    *_, last = [-1, *(at for at, field in enumerate(fields) if field[0] == "X-Forwarded-For")]
    if last < 0:
        return [*fields, ("X-Forwarded-For", "127.0.0.1")]
    added = ("X-Forwarded-For", fields[last][1] + ", 127.0.0.1")
    return [*fields[:last], added, *fields[last + 1 :]]


def differences(expected, found, where):
    """How a JSON value differs from the expected one, in which /.../ is a regular expression."""
    if isinstance(expected, dict) and isinstance(found, dict):
        for name in sorted(expected.keys() | found.keys()):
            yield from differences(expected.get(name), found.get(name), f"{where}.{name}")
    elif isinstance(expected, str) and re.fullmatch("/.+/", expected):
        text = str(found) if type(found) in (str, int) else ""
        if not re.search(expected[1:-1], text):
            yield f"{where} is {found!r}, not {expected}"
    elif expected != found:
        yield f"{where} is {found!r}, not {expected!r}"


def faults(expected, answer):
    """What is wrong with an answer."""
    status, headers, body = answer
    if status != expected["status"]:
        yield f"status is {status}, not {expected['status']}"
    # Those of denials are there only where they are expected, and none comes twice.
    for name in dict.fromkeys([*OF_DENIALS, *expected["headers"]]):
        values = headers.get_all(name)
        yield from differences(expected["headers"].get(name), values and ", ".join(values), name)
    if headers.get_content_type() != "application/json":
        yield f"Content-Type is {headers.get('Content-Type')!r}"
    if TOKEN.search(str(headers)) or TOKEN.search(body.decode("latin-1")):
        yield "a key is in the answer"
    try:
        yield from differences(expected["body"], json.loads(body), "body")
    except ValueError:
        yield f"the body is no JSON: {body[:200]!r}"


class Run:
    """The list, the service that it is sent to, and the result so far."""

    def __init__(self, service, legacy):
        content = json.loads((FOLDER / "requests.json").read_text(encoding="utf-8"))
        self.unavailable, self.requests = content["unavailable"], content["requests"]
        self.paths = content["paths_without_a_key"]
        for line in self.requests if legacy else []:
            answer = line["answer"]
            answer["headers"] = answer.get("legacy_headers", answer["headers"])
        self.service = service
        self.keys = dict(line.split("=") for line in psql("-f", FOLDER / "keys.sql").splitlines())
        self.passed = self.failed = 0
        wait_until(self.is_up)

    def is_up(self):
        """Whether the service listens."""
        try:
            return self.send(self.requests[0])[0] != 503
        except OSError:
            return False

    def line(self, name):
        return next(line for line in self.requests if line["name"] == name)

    def send(self, line, **other_keys):
        return self.service.send(line["request"], {**self.keys, **other_keys})

    def count(self, name, found):
        """Counts a test, with the faults that it found."""
        for fault in found:
            print(f"FAILED: {name}: {fault}", flush=True)
        self.passed += not found
        self.failed += bool(found)

    def check(self, name, line, expected):
        """Sends a request and counts the test of its answer."""
        try:
            self.count(name, list(faults(expected, self.send(line))))
        except (OSError, http.client.HTTPException) as error:
            self.count(name, [f"no answer: {error!r}"])

    def whole_list(self):
        for line in self.requests:
            self.check(line["name"], line, line["answer"])

    def detours(self):
        """No path leads to a task without a key, however the next program reads it."""
        fields = {"X-Vpk-Key-Id": str(uuid.uuid4()), "X-Vpk-Account": "conformance%20Pro"}
        for path in self.paths:
            line = {"request": {"method": "GET", "path": path, "headers": fields}}
            status, _, body = self.send(line)
            task = b'"account"' in body
            self.count(path, [f"without a key, the answer is {status} with a task"] if task else [])

    def while_clients_send(self, one_request, meanwhile):
        """Does something while clients send one request after another; returns their faults."""
        found, ended = [], threading.Event()

        def client(number):
            while not ended.is_set():
                try:
                    found.extend(one_request(number))
                except (OSError, http.client.HTTPException) as error:
                    found.append(f"no answer: {error!r}")

        clients = [threading.Thread(target=client, args=[number]) for number in range(CLIENTS)]
        for thread in clients:
            thread.start()
        try:
            meanwhile()
        finally:
            ended.set()
            for thread in clients:
                thread.join()
        return sorted(set(found))

    def revocation(self):
        """A request that begins after a revocation's commit is denied."""
        line = self.line("a key without scopes may read")
        refused = self.line("a key that is revoked")
        key_id, token = new_key("race")
        answers, committed = [0] * CLIENTS, threading.Event()

        def one_request(number):
            after = committed.is_set()
            answer = self.send(line, unscoped=token)
            answers[number] += 1
            if not after and not list(faults(line["answer"], answer)):
                return []
            return faults(refused["answer"], answer)

        def revoke():
            wait_until(lambda: min(answers) > 0)
            psql("-c", f"SELECT keys.vpk_revoke('{key_id}')")
            committed.set()
            before = list(answers)
            wait_until(lambda: all(now > then + 1 for now, then in zip(answers, before)))

        self.count("while a key is revoked", self.while_clients_send(one_request, revoke))

    def charges(self):
        """Of a limit of two, two requests pass: each is charged once, also if it starts a task."""
        read, task = self.line("a key without scopes may read"), self.line("a task")
        for code, limit in LIMITS_OF_TWO.items():
            for lines in (task, task, task), (read, task, read), (task, read, task):
                key_id, token = new_key("two")
                psql("-c", f"SELECT keys.{limit}".format(key_id))
                answers = [self.send(line, valid=token, unscoped=token) for line in lines]
                found = []
                for line, answer in zip(lines[:2], answers):
                    found.extend(faults(line["answer"], answer))
                refusal = (answers[2][0], json.loads(answers[2][2]).get("error", {}).get("code"))
                found.extend(differences([429, code], [*refusal], "the third answer"))
                methods = " ".join(line["request"]["method"] for line in lines)
                self.count(f"{methods} with a limit of two: {code}", found)

    def restart(self, stop, start, crash):
        """Without the database, each answer is 503; when it is back, each is the list's again. A
        restart between two requests is not noticed."""
        reading = [line for line in self.requests if line["request"]["method"] == "GET"]
        # A crash may let through again what was refused.
        remembered = [line for line in reading if not line.get("forgotten_by_a_crash")]
        constant = remembered if crash else reading
        answers = [0] * CLIENTS

        def one_request(number):
            line = constant[answers[number] % len(constant)]
            answer = self.send(line)
            answers[number] += 1
            expected = self.unavailable if answer[0] == 503 else line["answer"]
            return [f"{line['name']}: {fault}" for fault in faults(expected, answer)]

        def stop_and_start():
            wait_until(lambda: min(answers) > 0)
            subprocess.run(crash or stop, shell=True, check=True)
            self.outage()
            subprocess.run(start, shell=True, check=True)
            # What a crash has forgotten is used up again by these.
            for line in self.requests:
                wait_until(lambda line=line: self.send(line)[0] != 503)

        self.count("while the server restarts", self.while_clients_send(one_request, stop_and_start))
        self.whole_list()
        self.unnoticed("after a restart", stop, start, reading)
        if crash:
            self.unnoticed("after a crash", crash, start, remembered)

    def unnoticed(self, when, stop, start, reading):
        """Nothing is sent meanwhile, so the next requests find the connections lost. Only what can
        be repeated without harm is asked again."""
        subprocess.run(stop, shell=True, check=True)
        subprocess.run(start, shell=True, check=True)
        for line in reading:
            self.check(f"{when}: {line['name']}", line, line["answer"])

    def outage(self):
        """Each request at once, since a service may wait for its database in each."""

        threads = []
        for line in self.requests:
            arguments = [f"without a database: {line['name']}", line, self.unavailable]
            threads.append(threading.Thread(target=self.check, args=arguments))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def wait_until(condition):
    end = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError("the service or its database does not go on")
        time.sleep(0.01)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url", help="of the service, such as http://127.0.0.1:8080")
    parser.add_argument(
        "--behind-proxy",
        action="store_true",
        help="the URL is that of a proxy, which adds X-Forwarded-For; otherwise this program does",
    )
    parser.add_argument(
        "--legacy",
        action="store_true",
        help="the service's role has vibepeak_keys.rate_limit_headers = legacy",
    )
    parser.add_argument("--stop", metavar="COMMAND", help="stops the database's server")
    parser.add_argument("--start", metavar="COMMAND", help="starts it again")
    parser.add_argument("--crash", metavar="COMMAND", help="ends it as a crash does")
    arguments = parser.parse_args()
    run = Run(Service(arguments.url, arguments.behind_proxy), arguments.legacy)
    run.whole_list()
    run.detours()
    run.revocation()
    run.charges()
    if arguments.stop and arguments.start:
        run.restart(arguments.stop, arguments.start, arguments.crash)
    if run.failed:
        print(f"{run.failed} of {run.passed + run.failed} tests failed.")
    else:
        print(f"All {run.passed} tests passed.")
    sys.exit(run.failed > 0)


if __name__ == "__main__":
    main()
