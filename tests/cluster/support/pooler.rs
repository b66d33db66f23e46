//! A pgbouncer in front of a server: one socket in the server's folder, gone when the test ends.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use postgres::{Client, Config, NoTls};

use super::companion::Companion;
use super::{Cluster, wait_until};

/// A running pooler.
pub struct Pooler {
    folder: PathBuf,
    log: PathBuf,
    _guard: Companion,
}

impl Pooler {
    /// A pooler with three connections to the server for each database and user, in this mode.
    pub fn start(cluster: &Cluster, mode: &str, settings: &[(&str, &str)]) -> Pooler {
        let of_the_mode = [("pool_mode", mode), ("default_pool_size", "3")];
        let databases = format!("[databases]\n* = host={}\n[pgbouncer]", cluster.socket());
        Pooler::configured(cluster, &databases, &[&of_the_mode, settings].concat())
    }

    /// A pooler with this beginning of its configuration, which has the database `postgres`.
    pub fn configured(cluster: &Cluster, beginning: &str, settings: &[(&str, &str)]) -> Pooler {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = cluster.data().with_file_name(format!("pooler_{number}"));
        cluster.run("/bin/mkdir", &[folder.to_str().expect("a plain path")]);
        let path = folder.to_str().expect("a plain path");
        let fixed = [
            ("listen_addr", ""),
            ("unix_socket_dir", path),
            ("auth_type", "trust"),
            ("auth_file", &format!("{path}/users")),
            ("max_client_conn", "100"),
        ];
        let mut text = format!("{beginning}\n");
        for (name, value) in fixed.iter().chain(settings) {
            text.push_str(&format!("{name} = {value}\n"));
        }
        let users = ["postgres", "backend", "backoffice"].map(|name| format!("\"{name}\" \"\"\n"));
        for (name, text) in [("ini", text), ("users", users.concat())] {
            fs::write(folder.join(name), text).expect("a file of the pooler");
        }
        let name = folder.file_name().and_then(|name| name.to_str()).expect("a plain name");
        let guard = Companion::start(cluster, name, program(), &[&format!("{path}/ini")]);
        let pooler = Pooler { log: folder.with_extension("log"), folder, _guard: guard };
        let mut told = String::new();
        wait_until("the pooler takes connections", || {
            let config = pooler.config("postgres", "postgres").connect(NoTls);
            told = config.as_ref().err().map(ToString::to_string).unwrap_or_default();
            config.is_ok() || {
                let log = fs::read_to_string(&pooler.log).unwrap_or_default();
                assert!(!log.contains("FATAL"), "{log}{told}");
                false
            }
        });
        pooler
    }

    fn config(&self, database: &str, user: &str) -> Config {
        let mut config = Config::new();
        config.host_path(&self.folder).port(6432).dbname(database).user(user);
        config
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).expect("its log")
    }

    /// A client of the pooler.
    pub fn client(&self, user: &str) -> Client {
        let connected = self.config("postgres", user).connect(NoTls);
        connected.unwrap_or_else(|error| panic!("{user}: {error}"))
    }
}

/// Debian keeps it beside the servers' programs.
fn program() -> &'static str {
    let places = ["/usr/sbin/pgbouncer", "/usr/bin/pgbouncer", "/usr/local/bin/pgbouncer"];
    let there = places.into_iter().find(|path| fs::exists(path).unwrap_or(false));
    there.expect("pgbouncer is installed: make setup does that")
}

/// Whether this pgbouncer keeps protocol-level prepared statements apart in transaction mode: from
/// 1.21 on.
pub fn keeps_prepared_statements() -> bool {
    let output = Command::new(program()).arg("--version").output().expect("it tells its version");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let version = text.split_whitespace().nth(1).expect("a version").to_owned();
    let mut numbers = version.split('.').map(|number| number.parse::<u32>().expect("a number"));
    (numbers.next(), numbers.next()) >= (Some(1), Some(21))
}
