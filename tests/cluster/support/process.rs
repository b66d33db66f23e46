//! Processes of a server, as the system shows them: their memory and files.

use std::fs;

use super::{GenericClient, value};

/// A number of kilobytes of `/proc/PID/status`.
fn kilobytes(pid: i32, name: &str) -> i64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.unwrap_or_else(|| panic!("no {name} of process {pid}"))
}

/// The memory that is a process's own, in kilobytes. Not what `smaps` calls private: there the
/// server's shared memory counts too, as long as no other process has touched the page.
pub fn own_memory(pid: i32) -> i64 {
    kilobytes(pid, "RssAnon")
}

/// What a session's memory contexts take, in kilobytes.
pub fn contexts(client: &mut impl GenericClient) -> i64 {
    let sql = "SELECT (sum(total_bytes) / 1024)::bigint::text FROM pg_backend_memory_contexts";
    value(client, sql, &[]).parse().expect("a number")
}

/// How many files a process has open.
pub fn open_files(pid: i32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).expect("a process").count()
}

/// The room that a process has taken, in kilobytes: used or not.
pub fn size(pid: i32) -> i64 {
    kilobytes(pid, "VmSize")
}

/// Whether the long variants of the tests are wanted: `make test-soak`.
pub fn soak() -> bool {
    std::env::var_os("VIBEPEAK_SOAK").is_some_and(|wanted| !wanted.is_empty())
}
