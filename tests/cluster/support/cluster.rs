//! A PostgreSQL server for one test: one socket in a short folder, removed when the test ends.
//!
//! A guard, a shell that waits for the end of its input, stops the server and removes the folder.
//! Its input ends when the cluster is dropped, and also when the test's process is killed.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use postgres::error::SqlState;
use postgres::{Client, Config, NoTls};

use super::{process, wait_until};

/// A running server.
pub struct Cluster {
    bin: PathBuf,
    library_path: String,
    /// The user and group that run it; None means the caller's.
    user: Option<(String, String)>,
    directory: PathBuf,
    guard: Child,
    /// Whether it sees file systems that are mounted for it alone, as its guard does.
    own_mounts: bool,
}

/// What initdb makes, to be copied: that takes a fraction of its time.
static TEMPLATE: OnceLock<Cluster> = OnceLock::new();

impl Cluster {
    /// A server with the library preloaded, and the extension in the database `postgres`.
    pub fn start(settings: &[(&str, &str)]) -> Cluster {
        Cluster::initialised(settings, &[])
    }

    /// The same, with checksums on its pages.
    pub fn with_checksums(settings: &[(&str, &str)]) -> Cluster {
        Cluster::initialised(settings, &["--data-checksums"])
    }

    /// A running server of the older major version, without the extension.
    pub fn of_older_major(settings: &[(&str, &str)]) -> Cluster {
        let cluster = Cluster::folder_of("VIBEPEAK_OLDER_PG_CONFIG", false);
        cluster.initialise(settings, &[]);
        cluster.up();
        cluster
    }

    /// What pg_upgrade makes of an older server, which was stopped. It does not run yet.
    pub fn upgraded_from(older: &Cluster, initdb_options: &[&str], options: &[&str]) -> Cluster {
        let cluster = Cluster::folder();
        cluster.initialise(&[], initdb_options);
        let (old_data, data) = (older.data(), cluster.data());
        let of = |path: &Path| path.to_str().expect("a plain path").to_owned();
        let (old_bin, bin) = (of(&older.bin), of(&cluster.bin));
        let (old_data, data, socket) = (of(&old_data), of(&data), cluster.socket());
        let arguments = ["-b", &old_bin, "-B", &bin, "-d", &old_data, "-D", &data, "-s", &socket];
        let output =
            cluster.attempt("pg_upgrade", &[&arguments[..], &["-U", "postgres"], options].concat());
        let said = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() {
            let script = "grep -rhsC 3 -E 'error|ERROR|FATAL' data/pg_upgrade_output.d || true";
            let logs = cluster.attempt("/bin/sh", &["-c", script]);
            panic!("pg_upgrade: {said}{}", String::from_utf8_lossy(&logs.stdout));
        }
        cluster
    }

    fn initialised(settings: &[(&str, &str)], options: &[&str]) -> Cluster {
        let cluster = Cluster::folder();
        cluster.initialise(settings, options);
        cluster.with_extension()
    }

    /// Whether a file system can be mounted that no other process sees.
    pub fn can_mount() -> bool {
        let mut attempt = Command::new("unshare");
        attempt.args(["--mount", "--propagation", "private"]);
        attempt.args(["mount", "-t", "tmpfs", "tmpfs"]).arg(std::env::temp_dir());
        attempt.stderr(Stdio::null()).status().is_ok_and(|status| status.success())
    }

    /// The same, in a mount namespace that [`Cluster::mount`] can use.
    pub fn with_mounts(settings: &[(&str, &str)]) -> Cluster {
        let cluster = Cluster::folder_of("VIBEPEAK_PG_CONFIG", true);
        // Small files of WAL, so that a small disk has room for some.
        cluster.initialise(settings, &["--wal-segsize=1"]);
        cluster.with_extension()
    }

    fn with_extension(self) -> Cluster {
        self.up();
        self.client().batch_execute("CREATE EXTENSION vibepeak_keys").expect("the extension");
        self
    }

    fn initialise(&self, settings: &[(&str, &str)], options: &[&str]) {
        let template = TEMPLATE.get_or_init(|| {
            let template = Cluster::folder();
            template.initdb(&[]);
            template
        });
        if options.is_empty() && self.bin == template.bin {
            let data = template.data();
            self.run("/bin/cp", &["-a", data.to_str().expect("a plain path"), "data"]);
        } else {
            self.initdb(options);
        }
        self.set(&[
            ("listen_addresses", ""),
            ("unix_socket_directories", &self.socket()),
            ("shared_preload_libraries", "vibepeak_keys"),
            ("fsync", "off"),
            ("max_connections", "50"),
            // A busy machine takes its time, and no test is about a network that fails.
            ("authentication_timeout", "600s"),
            ("wal_sender_timeout", "0"),
            ("wal_receiver_timeout", "0"),
        ]);
        self.set(settings);
    }

    fn initdb(&self, options: &[&str]) {
        let data = self.data();
        let data = data.to_str().expect("a plain path");
        let initdb = ["-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale"];
        self.run("initdb", &[&initdb[..], &["--no-sync"], options].concat());
    }

    /// A hot standby of this server.
    pub fn standby(&self) -> Cluster {
        self.standby_with(&[])
    }

    /// A hot standby with further settings. Replication knows it by its `cluster_name`.
    pub fn standby_with(&self, settings: &[(&str, &str)]) -> Cluster {
        let standby = Cluster::folder();
        let (data, socket) = (standby.data(), self.socket());
        let data = data.to_str().expect("a plain path");
        let from = ["-h", &socket, "-U", "postgres", "-D", data, "-R"];
        standby.run("pg_basebackup", &[&from[..], &["-X", "stream", "-c", "fast"]].concat());
        standby.set(&[("unix_socket_directories", &standby.socket())]);
        standby.set(settings);
        standby.up();
        standby
    }

    /// Makes this server, which is down, a standby of the one that was promoted in its place.
    pub fn rewind(&self, source: &Cluster, settings: &[(&str, &str)]) {
        // The timeline of its promotion is in its control file from then on.
        source.client().batch_execute("CHECKPOINT").expect("a checkpoint");
        let from = format!("--source-server={}", source.address());
        self.run("pg_rewind", &["-R", "--no-sync", "-D", "data", &from]);
        // pg_rewind has copied the other server's configuration.
        self.set(&[("unix_socket_directories", &self.socket())]);
        self.set(settings);
    }

    /// How a client or another server connects to the database `postgres`.
    pub fn address(&self) -> String {
        format!("host={} user=postgres dbname=postgres", self.socket())
    }

    /// A folder for a server, with its guard.
    pub(super) fn folder() -> Cluster {
        Cluster::folder_of("VIBEPEAK_PG_CONFIG", false)
    }

    /// The same, for a server of the PostgreSQL that a variable of the environment names.
    fn folder_of(variable: &str, own_mounts: bool) -> Cluster {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let pg_config = std::env::var(variable)
            .expect("these tests need an installed extension: run 'make test-cluster'");
        let asked = |option| {
            let output = Command::new(&pg_config).arg(option).output().expect("pg_config runs");
            String::from_utf8_lossy(&output.stdout).trim().to_owned()
        };
        let user = std::env::var("VIBEPEAK_SERVER_USER").ok().filter(|user| !user.is_empty());
        let user = user.map(|user| {
            let output = Command::new("id").args(["-g", &user]).output().expect("id runs");
            let group = String::from_utf8_lossy(&output.stdout).trim().to_owned();
            (user, group)
        });

        let temporary = temporary();
        let directory = loop {
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            let name = format!("{}{number}", folder_prefix());
            match DirBuilder::new().mode(0o700).create(temporary.join(&name)) {
                Ok(()) => break temporary.join(name),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => panic!("{}: {error}", temporary.display()),
            }
        };
        let bin = PathBuf::from(asked("--bindir"));
        let library_path = asked("--libdir");
        if let Some((user, group)) = &user {
            let owner = format!("{user}:{group}");
            let done = Command::new("chown").arg(owner).arg(&directory).status();
            assert!(done.expect("chown runs").success());
        }
        let guard = Self::guard(&bin, &library_path, &user, &directory, own_mounts);
        let cluster = Cluster { bin, library_path, user, directory, guard, own_mounts };
        if own_mounts {
            let of = |process: &str| fs::read_link(format!("/proc/{process}/ns/mnt"));
            let guard = cluster.guard.id().to_string();
            wait_until("the guard has mounts of its own", || {
                of(&guard).is_ok_and(|mounts| mounts != of("self").expect("one's own"))
            });
        }
        cluster
    }

    fn guard(
        bin: &Path,
        library_path: &str,
        user: &Option<(String, String)>,
        directory: &Path,
        own_mounts: bool,
    ) -> Child {
        const SCRIPT: &str = "trap '' INT TERM HUP
            cat >/dev/null
            directory=$1
            shift
            cd \"$directory\"
            if [ -f data/postmaster.pid ]; then \"$@\"; fi
            cd /
            while read -r _ _ _ _ at _; do
                case $at in \"$directory\"/*) umount -l \"$at\" ;; esac
            done </proc/self/mountinfo
            rm -rf -- \"$directory\"";
        let stop = as_user(user, &bin.join("pg_ctl"));
        let mut guard = match own_mounts {
            true => Command::new("unshare"),
            false => Command::new("sh"),
        };
        if own_mounts {
            guard.args(["--mount", "--propagation", "private", "sh"]);
        }
        guard.args(["-c", SCRIPT, "guard"]).arg(directory).args(stop);
        guard.args(["stop", "-s", "-m", "immediate", "-D", "data"]);
        guard.env("LD_LIBRARY_PATH", library_path).stdin(Stdio::piped());
        guard.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("sh runs")
    }

    /// Runs one of the server's programs, which has to succeed.
    pub fn run(&self, program: &str, arguments: &[&str]) {
        let output = self.attempt(program, arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program}: {said}{}", self.log());
    }

    /// Runs one of the server's programs, or of the system's by its path, as the server's user.
    pub fn attempt(&self, program: &str, arguments: &[&str]) -> Output {
        let mut command = as_user(&self.user, &self.bin.join(program));
        if self.own_mounts {
            command.splice(0..0, self.inside());
        }
        let mut process = Command::new(&command[0]);
        process.args(&command[1..]).args(arguments).current_dir(&self.directory);
        self.with_its_environment(&mut process).stdin(Stdio::null());
        process.output().unwrap_or_else(|error| panic!("{program}: {error}"))
    }

    /// Gives a process what it needs to find this PostgreSQL's libraries, and nothing else of the
    /// environment.
    pub(super) fn with_its_environment<'a>(&self, process: &'a mut Command) -> &'a mut Command {
        process.env_clear().env("LD_LIBRARY_PATH", &self.library_path);
        process.envs([("PATH", "/usr/bin:/bin"), ("LC_ALL", "C"), ("TZ", "UTC")]);
        // pg_ctl waits for a minute by default, which a busy machine needs to start a server.
        process.env("PGCTLTIMEOUT", "600")
    }

    /// The folder of this PostgreSQL's programs.
    pub(super) fn bin(&self) -> &str {
        self.bin.to_str().expect("a plain path")
    }

    /// What runs a command in the cluster's folder, where its own file systems are mounted.
    fn inside(&self) -> Vec<String> {
        let guard = self.guard.id().to_string();
        let enter = ["nsenter", "--mount", "--target", &guard, "sh", "-c"];
        let socket = self.socket();
        let command = ["cd \"$1\" && shift && exec \"$@\"", "sh", &socket];
        enter.iter().chain(&command).map(|word| (*word).to_owned()).collect()
    }

    /// Runs a shell's command there, as oneself and in the cluster's folder; whether it succeeded.
    pub fn shell(&self, command: &str) -> bool {
        let inside = self.inside();
        let mut shell = Command::new(&inside[0]);
        shell.args(&inside[1..]).args(["sh", "-c", command]).stdin(Stdio::null());
        shell.stdout(Stdio::null()).stderr(Stdio::null()).status().expect("nsenter runs").success()
    }

    /// Moves a folder of the cluster and its files onto a small disk.
    pub fn mount(&self, folder: &str, megabytes: usize) {
        let command = format!(
            "mkdir -p disk && mount -t tmpfs -o size={megabytes}m tmpfs disk &&
             cp -a {folder}/. disk/ && mount --move disk {folder}"
        );
        assert!(self.shell(&command), "a disk for {folder}");
    }

    /// Adds settings, in force from the next start on.
    pub fn set(&self, settings: &[(&str, &str)]) {
        let path = self.data().join("postgresql.conf");
        let mut text = fs::read_to_string(&path).expect("postgresql.conf");
        for (name, value) in settings {
            text.push_str(&format!("{name} = '{value}'\n"));
        }
        fs::write(path, text).expect("postgresql.conf");
    }

    /// Starts the server, which does not run.
    pub fn up(&self) {
        self.run("pg_ctl", &["start", "-w", "-s", "-D", "data", "-l", "log"]);
    }

    /// Starts the server with variables in its environment.
    pub fn up_with(&self, variables: &[&str]) {
        let pg_ctl = format!("{}/pg_ctl", self.bin());
        let start = ["start", "-w", "-s", "-D", "data", "-l", "log"];
        self.run("/usr/bin/env", &[variables, &[&pg_ctl], &start].concat());
    }

    /// Starts the server; returns whether it runs.
    pub fn comes_up(&self) -> bool {
        let arguments = ["start", "-w", "-s", "-D", "data", "-l", "log"];
        self.attempt("pg_ctl", &arguments).status.success()
    }

    /// Stops the server.
    pub fn down(&self) {
        self.run("pg_ctl", &["stop", "-w", "-s", "-D", "data", "-m", "fast"]);
    }

    /// Stops the server as if the machine had failed.
    pub fn down_at_once(&self) {
        self.run("pg_ctl", &["stop", "-w", "-s", "-D", "data", "-m", "immediate"]);
    }

    /// Lets one of its processes have so many kilobytes more than it has, or any number again.
    pub fn limit(&self, pid: i32, more: Option<i64>) {
        let bytes = match more {
            Some(more) => ((process::size(pid) + more) * 1024).to_string(),
            None => "unlimited".to_owned(),
        };
        // As the user whose process it is: root may lack the right to.
        let command = as_user(&self.user, Path::new("prlimit"));
        let mut prlimit = Command::new(&command[0]);
        prlimit.args(&command[1..]).args([format!("--pid={pid}"), format!("--as={bytes}:")]);
        assert!(prlimit.status().expect("prlimit runs").success(), "a limit for process {pid}");
    }

    /// The process that has started all others of the server.
    pub fn postmaster(&self) -> i32 {
        let file = fs::read_to_string(self.data().join("postmaster.pid")).expect("a server");
        file.lines().next().and_then(|line| line.parse().ok()).expect("a number")
    }

    /// Makes a standby a primary.
    pub fn promote(&self) {
        self.run("pg_ctl", &["promote", "-w", "-s", "-D", "data"]);
    }

    /// What the server has logged.
    pub fn log(&self) -> String {
        fs::read(self.directory.join("log"))
            .map(|log| String::from_utf8_lossy(&log).into_owned())
            .unwrap_or_default()
    }

    /// The server's data.
    pub fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    /// The folder of the socket.
    pub fn socket(&self) -> String {
        self.directory.to_str().expect("a plain path").to_owned()
    }

    /// One of the programs of this PostgreSQL, or else of the system, with what it needs to find
    /// its libraries and nothing else of the environment.
    pub fn program(&self, name: &str) -> Command {
        let own = self.bin.join(name);
        let mut command = Command::new(if own.exists() { own } else { PathBuf::from(name) });
        self.with_its_environment(&mut command).env("LC_ALL", "C.UTF-8");
        command
    }

    /// A program and, for root, what runs it as the server's user.
    pub(super) fn as_server_user(&self, program: &Path) -> Vec<String> {
        as_user(&self.user, program)
    }

    /// A database of an encoding, with the extension.
    pub fn database(&self, name: &str, encoding: &str) {
        let sql =
            format!("CREATE DATABASE {name} TEMPLATE template0 ENCODING '{encoding}' LOCALE 'C'");
        self.client().batch_execute(&sql).expect("a database");
        let mut client = self.connect(name, "postgres");
        client.batch_execute("CREATE EXTENSION vibepeak_keys").expect("the extension");
    }

    /// A connection of the superuser to the database `postgres`.
    pub fn client(&self) -> Client {
        self.connect("postgres", "postgres")
    }

    /// A connection. Tries again where a standby's replay has cancelled the new session.
    pub fn connect(&self, database: &str, user: &str) -> Client {
        loop {
            match self.try_connect(database, user) {
                Ok(client) => return client,
                Err(error) if error.code() == Some(&SqlState::T_R_SERIALIZATION_FAILURE) => {}
                Err(error) => panic!("{database}: {error}\n{}", self.log()),
            }
        }
    }

    /// A connection, where there can be one.
    pub fn try_connect(&self, database: &str, user: &str) -> Result<Client, postgres::Error> {
        Config::new().host_path(&self.directory).dbname(database).user(user).connect(NoTls)
    }

    /// How often the server has started over.
    pub fn restarts(&self) -> usize {
        self.log().matches("all server processes terminated; reinitializing").count()
    }

    /// Kills one of the server's processes, and waits until the server has started over.
    pub fn crash(&self, pid: i32) {
        let before = self.restarts();
        assert!(kill(pid), "there is a process {pid}");
        wait_until("the server has noticed", || self.restarts() > before);
        wait_until("it takes connections", || self.try_connect("postgres", "postgres").is_ok());
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let end = lines[lines.len().saturating_sub(60)..].join("\n");
            eprintln!("the end of the log of the server in {}:\n{end}", self.directory.display());
        }
        // The end of its input; then the guard does all the rest.
        drop(self.guard.stdin.take());
        let _ = self.guard.wait();
    }
}

/// Where the folders of the servers are. The name of a socket may have 107 characters.
pub(super) fn temporary() -> PathBuf {
    let temporary = std::env::temp_dir();
    if temporary.as_os_str().len() <= 40 { temporary } else { PathBuf::from("/tmp") }
}

/// What the names of this process's folders begin with.
pub(super) fn folder_prefix() -> String {
    format!("vibepeak_keys_test-{}-", std::process::id())
}

/// Kills a process; whether there was one.
pub fn kill(pid: i32) -> bool {
    // The shell's own: a bare system has no other.
    let mut shell = Command::new("sh");
    shell.args(["-c", "kill -KILL \"$0\"", &pid.to_string()]).stderr(Stdio::null());
    shell.status().expect("sh runs").success()
}

/// A program and, for root, what runs it as the server's user.
fn as_user(user: &Option<(String, String)>, program: &Path) -> Vec<String> {
    let program = program.to_str().expect("a plain path");
    match user {
        None => vec![program.to_owned()],
        Some((user, group)) => {
            ["setpriv", "--reuid", user, "--regid", group, "--clear-groups", "--", program]
                .map(str::to_owned)
                .to_vec()
        }
    }
}
