//! Servers on copies of another server's files.

use std::fs;

use super::{Cluster, value, wait_until};

impl Cluster {
    /// A server on a base backup of this one, which runs; it is not started yet.
    pub fn base_backup(&self) -> Cluster {
        let copy = Cluster::folder();
        let (data, socket) = (copy.data(), self.socket());
        let data = data.to_str().expect("a plain path");
        let from = ["-h", &socket, "-U", "postgres", "-D", data];
        copy.run("pg_basebackup", &[&from[..], &["-X", "stream", "-c", "fast"]].concat());
        copy.set(&[("unix_socket_directories", &copy.socket())]);
        copy
    }

    /// A server on a copy of this one's files, which no process writes; it is not started yet.
    pub fn copied(&self) -> Cluster {
        let copy = Cluster::folder();
        let [from, to] = [self, &copy].map(|cluster| cluster.data());
        let [from, to] = [&from, &to].map(|path| path.to_str().expect("a plain path"));
        copy.run("/bin/cp", &["-a", from, to]);
        copy.set(&[("unix_socket_directories", &copy.socket())]);
        copy
    }

    /// Settings that keep the WAL in a folder beside the server's data, for as long as the server
    /// is there.
    pub const ARCHIVING: &[(&str, &str)] = &[
        ("archive_mode", "on"),
        (
            "archive_command",
            "mkdir -p ../archive && cp %p ../archive/%f.part && mv ../archive/%f.part ../archive/%f",
        ),
    ];

    /// Waits until everything that was written so far is in the archive.
    pub fn archive(&self) {
        let mut client = self.client();
        let sql = "SELECT pg_walfile_name(pg_switch_wal())";
        let last = value(&mut client, sql, &[]);
        let file = self.data().with_file_name("archive").join(last);
        wait_until("the WAL is in the archive", || file.exists());
    }

    /// Starts this server, which is a copy, and lets it replay what another has archived, up to a
    /// target or to the end.
    pub fn recover(&self, from: &Cluster, target: &[(&str, &str)]) {
        let restore = format!("cp {}/archive/%f %p", from.socket());
        self.set(&[("archive_mode", "off"), ("restore_command", &restore)]);
        self.set(&[("recovery_target_action", "promote")]);
        self.set(target);
        fs::write(self.data().join("recovery.signal"), "").expect("a signal");
        self.up();
        let mut client = self.client();
        wait_until("recovery has ended", || {
            value(&mut client, "SELECT pg_is_in_recovery()::text", &[]) == "false"
        });
    }
}
