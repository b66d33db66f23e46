//! What the sessions of all servers of this process do, to be read where a test hangs.

use std::fs;

use postgres::{Config, NoTls, SimpleQueryMessage};

use super::cluster::{folder_prefix, temporary};

/// One line for each session.
const SESSIONS: &str = "
    SELECT concat_ws(' ', pid, backend_type, datname, state, wait_event_type, wait_event,
                     'for', now() - state_change, 'blocked by', pg_blocking_pids(pid)::text, query)
      FROM pg_stat_activity WHERE pid <> pg_backend_pid() ORDER BY backend_start";

/// The sessions, with the folder of their server.
pub fn of_all_servers() -> String {
    let own = folder_prefix();
    let mut told = String::new();
    for folder in fs::read_dir(temporary()).into_iter().flatten().flatten() {
        if !folder.file_name().to_string_lossy().starts_with(&own) {
            continue;
        }
        let mut config = Config::new();
        config.host_path(folder.path()).dbname("postgres").user("postgres");
        // A server that is down has no session.
        let Ok(mut client) = config.connect(NoTls) else { continue };
        for message in client.simple_query(SESSIONS).into_iter().flatten() {
            if let SimpleQueryMessage::Row(row) = message {
                told += &format!("{}: {}\n", folder.path().display(), row.get(0).unwrap_or(""));
            }
        }
    }
    told
}
