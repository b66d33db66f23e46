#!/usr/bin/env python3
"""The files of contrib/monitoring, with a real exporter and a real Prometheus.

tools/test/monitoring runs it. The server is that of PGHOST, which has the library preloaded. The
rules are those of alerts.yaml without their `for`, which alerts.test.yaml checks.
"""

import json
import math
import os
import re
import signal
import socket
import subprocess
import tempfile
import time
import unittest
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FILES = ROOT / "contrib" / "monitoring"
DIRECTORY = Path(os.environ["PGHOST"])
BIN = subprocess.run([os.environ["PG_CONFIG"], "--bindir"], check=True, capture_output=True,
                     text=True).stdout.strip()
SERVER_USER = os.environ.get("VIBEPEAK_SERVER_USER") or None
DATABASE = "app"
VALID = "SELECT keys.vpk_verify(token) FROM keys.vpk_create('Used')"
MALFORMED = "SELECT keys.vpk_verify('vpk_live_' || n) FROM generate_series(1, 3000) AS n"


def sql(text, role="postgres", database=DATABASE):
    """Runs statements and returns the output, or raises what psql said."""
    command = [f"{BIN}/psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-U", role, "-d", database]
    done = subprocess.run(command, input=text, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(done.stderr)
    return done.stdout.strip()


def create_key_that_expires(test, days):
    """Creates a key, and revokes it at the end of the test."""
    key = sql(f"SELECT id FROM keys.vpk_create('Ends', expires_at => now() + interval '{days} days')")
    test.addCleanup(sql, f"SELECT keys.vpk_revoke('{key}')")


def control(*arguments):
    """Runs pg_ctl as the user of the server."""
    as_user = {}
    if SERVER_USER and os.getuid() == 0:
        as_user = {"user": SERVER_USER, "group": SERVER_USER, "extra_groups": []}
    subprocess.run([f"{BIN}/pg_ctl", "-D", DIRECTORY / "data", "-l", DIRECTORY / "log", "-w", "-s",
                    *arguments], check=True, cwd=DIRECTORY, **as_user)


def wait_until(what, condition):
    """Waits for a state. The limit is for a test that hangs."""
    end = time.monotonic() + 900
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"still waiting until {what}")
        time.sleep(0.2)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Program:
    """A program with a web interface on a port of this machine."""

    def __init__(self, name, command, environment=None):
        self.command, self.environment = [name, *command], environment
        self.port = free_port()
        self.log = open(Path(SCRATCH.name) / f"{name}.log", "a")
        self.process = None

    def start(self):
        self.process = subprocess.Popen(
            [*self.command, f"--web.listen-address=127.0.0.1:{self.port}"],
            env={**os.environ, **(self.environment or {})}, stdout=self.log, stderr=self.log)
        wait_until(f"{self.command[0]} answers", self.answers)

    def answers(self):
        assert self.process.poll() is None, Path(self.log.name).read_text()
        try:
            return urllib.request.urlopen(f"http://127.0.0.1:{self.port}/", timeout=10)
        except (urllib.error.URLError, OSError):
            return False

    def stop(self):
        if self.process:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait()
            self.process = None

    def restart(self):
        """The exporter forgets the answers that it keeps (cache_seconds)."""
        self.stop()
        self.start()

    def ask(self, path, **parameters):
        query = urllib.parse.urlencode(parameters)
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}?{query}") as answer:
            return json.load(answer)["data"]


def rows(expression):
    """The rows of an expression whose value is a number."""
    found = PROMETHEUS.ask("/api/v1/query", query=expression)["result"]
    return [row for row in found if not math.isnan(float(row["value"][1]))]


def rules():
    [group] = PROMETHEUS.ask("/api/v1/rules")["groups"]
    return {rule["name"]: rule for rule in group["rules"]}


def firing():
    return {name for name, rule in rules().items() if rule["state"] == "firing"}


def scraped():
    """Waits for the end of a scrape that begins from now on."""
    since = time.time()
    wait_until("the exporter is scraped", lambda: rows(f"timestamp(up == 1) > {since}"))


def setUpModule():
    global SCRATCH, EXPORTER, PROMETHEUS
    SCRATCH = tempfile.TemporaryDirectory(prefix="monitoring.")
    unittest.addModuleCleanup(SCRATCH.cleanup)
    sql("ALTER SYSTEM SET vibepeak_keys.usage_slots = 64;"
        "ALTER SYSTEM SET vibepeak_keys.identifier_slots = 31;"
        "ALTER SYSTEM SET vibepeak_keys.usage_flush_interval = '100ms';"
        "ALTER SYSTEM SET vibepeak_keys.usage_rewrite_interval = 0;"
        f"CREATE DATABASE {DATABASE};", database="postgres")
    control("restart")
    sql("CREATE SCHEMA keys; CREATE EXTENSION vibepeak_keys SCHEMA keys;")
    for _ in range(2):  # It can be run again.
        subprocess.run([f"{BIN}/psql", "-Xq", "-U", "postgres", "-d", DATABASE, "-f",
                        FILES / "setup.sql"], check=True, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)
    wait_until("the worker has run",
               lambda: sql("SELECT bool_and(ok IS TRUE) FROM keys.vpk_doctor()") == "t")

    EXPORTER = Program(
        "prometheus-postgres-exporter", [f"--extend.query-path={FILES}/queries.yaml"],
        {"DATA_SOURCE_NAME": f"user=prometheus host={DIRECTORY} dbname={DATABASE}"})
    unittest.addModuleCleanup(EXPORTER.stop)
    EXPORTER.start()

    scratch = Path(SCRATCH.name)
    alerts = re.sub(r"^ +for: .*\n", "", (FILES / "alerts.yaml").read_text(), flags=re.MULTILINE)
    (scratch / "alerts.yaml").write_text(alerts)
    (scratch / "prometheus.yml").write_text(json.dumps({
        "global": {"scrape_interval": "5s", "scrape_timeout": "5s",
                   "evaluation_interval": "1s"},
        "rule_files": ["alerts.yaml"],
        "scrape_configs": [{
            "job_name": "postgresql",
            "static_configs": [{"targets": [f"127.0.0.1:{EXPORTER.port}"]}]}]}))
    PROMETHEUS = Program("prometheus", [f"--config.file={scratch}/prometheus.yml",
                                        f"--storage.tsdb.path={scratch}/data"])
    unittest.addModuleCleanup(PROMETHEUS.stop)
    PROMETHEUS.start()
    scraped()


class Role(unittest.TestCase):
    def test_the_exporter_reads_numbers_only(self):
        for statement in ("SELECT FROM vpk.keys", "SELECT FROM vpk.key_list",
                          "SELECT FROM vpk.events", "SELECT FROM vpk.accounts",
                          "SELECT FROM keys.vpk_doctor()", "SELECT FROM keys.vpk_create('Mine')",
                          "SELECT keys.vpk_verify('x')", "SET ROLE vpk_monitoring"):
            with self.assertRaisesRegex(RuntimeError, "permission denied", msg=statement):
                sql(statement, role="prometheus")

    def test_the_doctor_finds_nothing_in_what_the_setup_grants(self):
        self.assertEqual(sql("SELECT item FROM keys.vpk_doctor()"
                             " WHERE item IN ('privileges', 'names', 'key_table') AND NOT ok"), "")


class Check(unittest.TestCase):
    """The line for Nagios in README.md."""

    def check(self):
        [line] = re.findall(r"^items=.*$", (FILES / "README.md").read_text(), flags=re.MULTILINE)
        line = line.replace("psql", f"{BIN}/psql", 1).replace("/run/postgresql", str(DIRECTORY))
        done = subprocess.run(["sh", "-c", line], capture_output=True, text=True)
        return done.returncode, done.stdout.strip()

    def test_the_check_is_critical_while_an_item_is_not_in_order(self):
        self.assertEqual(self.check(), (0, "OK"))
        sql("CREATE ROLE curious; GRANT SELECT ON vpk.keys TO curious;")
        try:
            self.assertEqual(self.check(), (2, "CRITICAL: privileges key_table"))
        finally:
            sql("DROP OWNED BY curious; DROP ROLE curious;")
        self.assertEqual(self.check(), (0, "OK"))

    def test_the_check_is_unknown_if_the_query_fails(self):
        sql("REVOKE USAGE ON SCHEMA vpk_monitoring FROM prometheus")
        try:
            self.assertEqual(self.check(), (3, ""))
        finally:
            sql("GRANT USAGE ON SCHEMA vpk_monitoring TO prometheus")


class Alerts(unittest.TestCase):
    """Each alert fires when what it is for happens, and not before."""

    def fires(self, alert):
        wait_until(f"{alert} fires", lambda: alert in firing())
        for found in rules()[alert]["alerts"]:
            for text in found["annotations"].values():
                self.assertNotRegex(text, "no value|error expanding")
        SEEN.add(alert)

    def quiet(self, alert):
        scraped()
        wait_until(f"{alert} is quiet", lambda: alert not in firing())

    def test_0_no_alert_fires_where_all_is_well(self):
        sql(VALID)
        scraped()
        evaluated = lambda: {rule["lastEvaluation"] for rule in rules().values()}
        before = evaluated()
        wait_until("the rules are evaluated", lambda: not evaluated() & before)
        self.assertEqual(firing(), set())

    def test_1_a_finding_of_the_doctor(self):
        create_key_that_expires(self, days=5)
        EXPORTER.restart()
        self.fires("VibepeakKeysDoctorFinding")
        self.assertEqual([row["metric"]["item"] for row in rows("vpk_doctor_ok == 0")],
                         ["expiring_keys"])

    def test_2_flushes_that_fail_and_uses_that_wait_and_are_dropped(self):
        for alert in ("VibepeakKeysFlushFailed", "VibepeakKeysFlushLate", "VibepeakKeysUsesDropped"):
            self.quiet(alert)
        holder = subprocess.Popen([f"{BIN}/psql", "-Xq", "-U", "postgres", "-d", DATABASE],
                                  stdin=subprocess.PIPE, text=True)
        holder.stdin.write("BEGIN; LOCK TABLE vpk.key_usage;\n")
        holder.stdin.flush()
        wait_until("the table is locked", lambda: sql(
            "SELECT EXISTS (SELECT FROM pg_locks WHERE relation = 'vpk.key_usage'::regclass"
            " AND mode = 'AccessExclusiveLock' AND granted)") == "t")
        sql("SELECT keys.vpk_verify(token) FROM generate_series(1, 200),"
            " LATERAL keys.vpk_create('Many ' || generate_series)")
        try:
            self.fires("VibepeakKeysUsesDropped")
            self.fires("VibepeakKeysFlushFailed")
            self.fires("VibepeakKeysFlushLate")
        finally:
            holder.communicate("COMMIT;\n")
        self.quiet("VibepeakKeysFlushFailed")
        self.quiet("VibepeakKeysFlushLate")

    def test_3_many_unknown_keys(self):
        self.quiet("VibepeakKeysManyInvalid")
        sql(MALFORMED)
        self.fires("VibepeakKeysManyInvalid")

    def test_4_limits_without_room(self):
        self.quiet("VibepeakKeysLimitsNotEnforced")
        sql("SELECT keys.vpk_rate_limit('identifier ' || n, 1, '1 hour')"
            " FROM generate_series(1, 200) AS n")
        self.fires("VibepeakKeysLimitsNotEnforced")

    def test_5_a_crash(self):
        self.quiet("VibepeakKeysCountersReset")
        # A session that is killed takes the shared memory of the server with it.
        session = subprocess.Popen([f"{BIN}/psql", "-XAtq", "-U", "postgres", "-d", DATABASE],
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        session.stdin.write("SELECT pg_backend_pid();\n")
        session.stdin.flush()
        os.kill(int(session.stdout.readline()), signal.SIGKILL)
        session.communicate()
        self.fires("VibepeakKeysCountersReset")

    def test_6_a_missing_exporter(self):
        self.quiet("VibepeakKeysNotMeasured")
        EXPORTER.stop()
        try:
            self.fires("VibepeakKeysNotMeasured")
        finally:
            EXPORTER.start()
        self.quiet("VibepeakKeysNotMeasured")

    def test_7_every_alert_was_seen(self):
        self.assertEqual(SEEN, set(rules()))


class Dashboard(unittest.TestCase):
    def setUp(self):
        self.dashboard = json.loads((FILES / "dashboard.json").read_text())

    def expressions(self):
        """The expressions as Grafana sends them, with all servers and databases selected."""
        for panel in self.dashboard["panels"]:
            for target in panel["targets"]:
                expression = target["expr"]
                for name, value in (("$__rate_interval", "1m"), ("$__range", "15m"),
                                    ("$instance", ".*"), ("$datname", ".*")):
                    expression = expression.replace(name, value)
                self.assertNotIn("$", expression)
                yield panel["title"], expression

    def test_each_expression_returns_rows(self):
        create_key_that_expires(self, days=3)
        EXPORTER.restart()

        def missing():
            sql(VALID)
            return [pair for pair in self.expressions() if not rows(pair[1])]

        self.assertTrue(list(self.expressions()))
        try:
            wait_until("each expression returns rows", lambda: not missing())
        except AssertionError:
            self.fail(f"no rows: {missing()}")

    def test_the_variables_have_values(self):
        queries = [variable["definition"] for variable in self.dashboard["templating"]["list"]
                   if variable["type"] == "query"]
        self.assertEqual(len(queries), 2)
        for query in queries:
            series, label = re.fullmatch(r"label_values\((.*), (\w+)\)", query).groups()
            found = PROMETHEUS.ask("/api/v1/series", **{"match[]": series.replace("$instance", ".*")})
            self.assertTrue(all(label in labels for labels in found) and found, query)

    def test_every_metric_is_shown_or_raises_an_alert(self):
        measured = set(re.findall(r"^(vpk_\w+)", urllib.request.urlopen(
            f"http://127.0.0.1:{EXPORTER.port}/metrics").read().decode(), flags=re.MULTILINE))
        used = (FILES / "dashboard.json").read_text() + (FILES / "alerts.yaml").read_text()
        self.assertEqual({name for name in measured if not re.search(rf"\b{name}\b", used)}, set())

    def test_answers_are_by_status(self):
        shown = {row["metric"]["status"] for row in rows("vpk_answers_total")}
        known = sql("SELECT lower(status::text) FROM vpk.status_codes").splitlines()
        self.assertEqual(shown, set(known))

    def test_panels_do_not_overlap(self):
        taken = set()
        for panel in self.dashboard["panels"]:
            place = panel["gridPos"]
            for x in range(place["x"], place["x"] + place["w"]):
                for y in range(place["y"], place["y"] + place["h"]):
                    self.assertLess(x, 24)
                    self.assertNotIn((x, y), taken, panel["title"])
                    taken.add((x, y))


SEEN = set()

if __name__ == "__main__":
    unittest.main(verbosity=2)
