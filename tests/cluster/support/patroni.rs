//! Two servers under Patroni, with an etcd, all removed when the test ends.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;

use postgres::{Client, Config, NoTls};

use super::companion::Companion;
use super::{Cluster, wait_until};

/// A Patroni cluster in synchronous mode. Its members are 0 and 1.
pub struct Patroni {
    /// The programs that run. They end before the folder goes: fields are dropped in this order.
    guards: Vec<(&'static str, Companion)>,
    members: [Member; 2],
    folder: Cluster,
}

struct Member {
    name: &'static str,
    /// Of its server and of Patroni's own answers: clients of Patroni use no sockets in folders.
    ports: [u16; 2],
}

impl Patroni {
    /// Starts both members, with the library preloaded, and waits until one leads and the other is
    /// its synchronous standby. None where Patroni, in Python, has no shared memory for its
    /// semaphores.
    pub fn start(settings: &[(&str, &str)]) -> Option<Patroni> {
        let folder = Cluster::folder();
        if !folder.attempt("/bin/sh", &["-c", "test -w /dev/shm"]).status.success() {
            println!("not run: the server's user may not write to /dev/shm here");
            return None;
        }
        let [etcd, peer, ports @ ..] = free_ports();
        let members = ["a", "b"].map(|name| {
            let first = if name == "a" { 0 } else { 2 };
            Member { name, ports: [ports[first], ports[first + 1]] }
        });
        let mut patroni = Patroni { guards: Vec::new(), members, folder };
        let [client, peer] = [etcd, peer].map(|port| format!("http://127.0.0.1:{port}"));
        let options = [
            ["--data-dir", "etcd"],
            ["--listen-client-urls", &client],
            ["--advertise-client-urls", &client],
            ["--listen-peer-urls", &peer],
            ["--initial-advertise-peer-urls", &peer],
            ["--initial-cluster", &format!("default={peer}")],
        ];
        patroni.guard("etcd", "/usr/bin/etcd", options.as_flattened());
        for member in 0..2 {
            patroni.configure(member, etcd, settings);
            patroni.begin(member);
        }
        let mut leader = None;
        wait_until("one of them leads", || {
            leader = (0..2).find(|&member| patroni.is(member, "leader"));
            leader.is_some()
        });
        let standby = 1 - leader.expect("a leader");
        wait_until("the other is synchronous", || patroni.is(standby, "sync"));
        Some(patroni)
    }

    fn configure(&self, member: usize, etcd: u16, settings: &[(&str, &str)]) {
        let Member { name, ports: [server, answers] } = self.members[member];
        let folder = self.folder.socket();
        let bin = self.folder.bin();
        let mut parameters = String::from("shared_preload_libraries: vibepeak_keys");
        for (name, value) in [("fsync", "off"), ("wal_log_hints", "on")].iter().chain(settings) {
            parameters.push_str(&format!(", {name}: '{value}'"));
        }
        // The shortest ttl that Patroni allows.
        let text = format!(
            "scope: keys
name: {name}
restapi: {{listen: '127.0.0.1:{answers}', connect_address: '127.0.0.1:{answers}'}}
etcd3: {{host: '127.0.0.1:{etcd}'}}
bootstrap:
  dcs:
    ttl: 20
    loop_wait: 1
    retry_timeout: 3
    synchronous_mode: true
    postgresql:
      use_pg_rewind: true
      parameters: {{{parameters}}}
  initdb: [encoding: UTF8, auth: trust, no-locale, no-sync]
postgresql:
  listen: '127.0.0.1:{server}'
  connect_address: '127.0.0.1:{server}'
  bin_dir: '{bin}'
  data_dir: '{folder}/{name}'
  pgpass: '{folder}/{name}.pgpass'
  authentication:
    superuser: {{username: postgres, password: none}}
    replication: {{username: postgres, password: none}}
    rewind: {{username: postgres, password: none}}
  parameters: {{unix_socket_directories: '{folder}'}}
"
        );
        fs::write(Path::new(&folder).join(format!("{name}.yml")), text).expect("a configuration");
    }

    /// Starts a member that does not run.
    pub fn begin(&mut self, member: usize) {
        let name = self.members[member].name;
        self.guard(name, "/usr/bin/patroni", &[&format!("{name}.yml")]);
    }

    fn guard(&mut self, name: &'static str, program: &str, arguments: &[&str]) {
        assert!(fs::exists(program).unwrap_or(false), "{program} is there: make setup installs it");
        self.guards.push((name, Companion::start(&self.folder, name, program, arguments)));
    }

    /// Whether a member is `leader`, `sync` or `replica`, as Patroni's own answer says.
    pub fn is(&self, member: usize, role: &str) -> bool {
        let ask = || {
            let mut answers =
                TcpStream::connect((Ipv4Addr::LOCALHOST, self.members[member].ports[1]))?;
            write!(answers, "GET /{role} HTTP/1.0\r\n\r\n")?;
            let mut answer = String::new();
            answers.read_to_string(&mut answer)?;
            Ok::<_, std::io::Error>(
                answer.lines().next().is_some_and(|line| line.contains(" 200 ")),
            )
        };
        ask().unwrap_or(false)
    }

    /// The member that leads.
    pub fn leader(&self) -> usize {
        (0..2).find(|&member| self.is(member, "leader")).expect("one of them leads")
    }

    /// A connection of the superuser to a member's database `postgres`.
    pub fn client(&self, member: usize) -> Client {
        let mut config = Config::new();
        config.host_path(self.folder.socket()).port(self.members[member].ports[0]);
        config.user("postgres").dbname("postgres").connect(NoTls).expect("a connection")
    }

    /// Ends a member as if its machine had failed.
    pub fn fail(&mut self, member: usize) {
        self.guards.retain(|(name, _)| *name != self.members[member].name);
    }
}

impl Drop for Patroni {
    fn drop(&mut self) {
        for member in self.members.iter().filter(|_| std::thread::panicking()) {
            let path = Path::new(&self.folder.socket()).join(format!("{}.log", member.name));
            let log = fs::read_to_string(path).unwrap_or_default();
            let last: Vec<&str> = log.lines().rev().take(20).collect();
            println!("{}, the last line first:\n{}", member.name, last.join("\n"));
        }
    }
}

/// Ports on which no process listens.
fn free_ports() -> [u16; 6] {
    let listeners = [(); 6].map(|()| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port"));
    listeners.each_ref().map(|listener| listener.local_addr().expect("its address").port())
}
