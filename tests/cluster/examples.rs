//! The services of examples/ go on when their connections, or what these have prepared, are no
//! longer good.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;

use crate::dumps::{Folder, run as run_program};
use crate::support::known::run;
use crate::support::{Client, Cluster, value, wait_until};

/// A running service. A shell ends it when the shell's input ends, and so also when the test's
/// process is killed.
struct Service {
    name: &'static str,
    port: u16,
    guard: Child,
}

impl Service {
    /// Starts the service of a name, for this database.
    fn start(cluster: &Cluster, name: &'static str, database: &str) -> Service {
        let services = std::env::var_os("VIBEPEAK_EXAMPLES");
        let services = PathBuf::from(services.expect("run by tools/test/rust-tests cluster"));
        let log = cluster.data().with_file_name(format!("{name}_{database}.log"));
        const SCRIPT: &str = "log=$1; shift; \"$@\" </dev/null >\"$log\" 2>&1 &
            cat >/dev/null; kill -KILL $!; wait";
        let free = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr());
        let port = free.expect("a free port").port();
        let mut guard = Command::new("sh");
        guard.args(["-c", SCRIPT, "guard"]).arg(log).arg(services.join(name));
        guard.env("PGHOST", cluster.socket()).env("PGUSER", "service");
        guard.env("PGDATABASE", database).env("PORT", port.to_string());
        let guard = guard.stdin(Stdio::piped()).spawn().expect("sh runs");
        let service = Service { name, port, guard };
        wait_until("the service listens", || service.connect().is_ok());
        service
    }

    fn connect(&self) -> std::io::Result<TcpStream> {
        TcpStream::connect(("127.0.0.1", self.port))
    }

    /// The HTTP status of an answer.
    fn ask(&self, token: &str) -> String {
        let mut stream = self.connect().expect("a connection");
        let request = format!(
            "GET /v1/tasks/1 HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\
             Authorization: Bearer {token}\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        answer.split(' ').nth(1).unwrap_or_default().to_owned()
    }

    /// The statuses of requests over several connections, often enough that each is prepared:
    /// psycopg does so at the sixth execution.
    fn ask_often(&self, token: &str) -> Vec<String> {
        let mut statuses: Vec<String> = thread::scope(|scope| {
            let ask = || (0..8).map(|_| self.ask(token)).collect::<Vec<_>>();
            let asking: Vec<_> = (0..4).map(|_| scope.spawn(ask)).collect();
            asking.into_iter().flat_map(|thread| thread.join().expect("answers")).collect()
        });
        statuses.sort();
        statuses.dedup();
        statuses
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        let _ = self.guard.wait();
    }
}

/// A database with the functions in schema `keys`, and the three services on it.
fn services(cluster: &Cluster, database: &str, make: &str) -> (Client, Vec<Service>) {
    run(&mut cluster.client(), &format!("CREATE DATABASE {database} TEMPLATE template0"));
    run(&mut cluster.client(), "CREATE ROLE service LOGIN");
    let mut client = cluster.connect(database, "postgres");
    run(&mut client, make);
    let names = ["node", "python", "rust"];
    let services = names.map(|name| Service::start(cluster, name, database));
    (client, services.into())
}

/// Whatever was prepared is no longer good when the extension is dropped and made again, by
/// `pg_restore --clean` too, and connections are gone when the server ended them.
#[test]
fn services_answer_after_the_extension_was_made_anew() {
    const MAKE: &str = "CREATE EXTENSION vibepeak_keys SCHEMA keys;
        SELECT keys.vpk_grant_verifier('service')";
    let cluster = Cluster::start(&[]);
    let make = format!("CREATE SCHEMA keys; {MAKE}");
    let (mut client, services) = services(&cluster, "app", &make);
    let token = value(&mut client, "SELECT token FROM keys.vpk_create('key')", &[]);
    let folder = Folder::new("examples");
    let dump = folder.file("dump");
    run_program(&cluster, "pg_dump", &["-Fc", "-f", &dump, "app"]);
    let all = |status: &str, when: &str| {
        for service in &services {
            assert_eq!(service.ask_often(&token), [status], "{}, {when}", service.name);
        }
    };
    all("200", "at first");
    run_program(&cluster, "pg_restore", &["-e", "--clean", "--if-exists", "-d", "app", &dump]);
    all("200", "after pg_restore --clean");
    run(&mut client, &format!("DROP EXTENSION vibepeak_keys; {MAKE}"));
    all("401", "after it was made anew");
    run_program(&cluster, "pg_restore", &["-e", "--clean", "--if-exists", "-d", "app", &dump]);
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'service'";
    run(&mut client, end);
    all("200", "after the connections were ended");
}

/// In the place of the extension's function: fails for connections from before a time.
const FAILING: &str = "CREATE SCHEMA keys;
    GRANT USAGE ON SCHEMA keys TO service;
    CREATE TABLE keys.failing (code text, before timestamptz);
    INSERT INTO keys.failing VALUES ('', '-infinity');
    CREATE FUNCTION keys.vpk_client_ip(text) RETURNS inet LANGUAGE sql AS 'SELECT NULL::inet';
    CREATE FUNCTION keys.vpk_authenticate(text, scope text, INOUT request_id text, client_ip inet,
        cost integer DEFAULT 1, OUT status text, OUT http_status integer, OUT key_id uuid, OUT account text, OUT headers jsonb,
        OUT error jsonb)
    LANGUAGE plpgsql SECURITY DEFINER AS $$
    DECLARE
        connected timestamptz := (SELECT backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid());
        failing keys.failing := (SELECT f FROM keys.failing AS f);
    BEGIN
        IF connected < failing.before THEN
            RAISE USING ERRCODE = failing.code, MESSAGE = 'as a test wants it';
        END IF;
        status := 'VALID';
        http_status := 200;
        account := 'one';
        request_id := 'req_1';
    END
    $$";

/// Once more for what a new connection mends, and for nothing else.
#[test]
fn services_ask_again_what_a_new_connection_mends() {
    let cluster = Cluster::start(&[]);
    let (mut client, services) = services(&cluster, "failing", FAILING);
    let mut check = |code: &str, status: &str| {
        for service in &services {
            assert_eq!(service.ask_often("x"), ["200"], "{} before {code}", service.name);
        }
        let fail = "UPDATE keys.failing SET code = $1, before = clock_timestamp()";
        client.execute(fail, &[&code]).expect("a row");
        for service in &services {
            assert_eq!(service.ask("x"), status, "{}, {code}", service.name);
        }
        run(&mut client, "UPDATE keys.failing SET before = '-infinity'");
    };
    for code in ["0A000", "26000", "42P05", "57P01", "57P02", "57P03", "08003", "08006"] {
        check(code, "200");
    }
    for code in ["22023", "40001", "42883", "53200", "57014"] {
        check(code, "503");
    }
}
