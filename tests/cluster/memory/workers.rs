//! G10: the launcher runs as long as the server does, and keeps neither memory nor files of the
//! workers that it has started.

use crate::support::keys::create;
use crate::support::process::open_files;
use crate::support::usage::{
    FLUSH_EVERY_200MS, launcher, use_key, wait_for_flushes, wait_until_flushed,
};
use crate::support::{Client, Cluster, value, wait_until};

/// How many bytes the launcher uses of the memory that it never gives back.
fn kept(cluster: &Cluster, client: &mut Client) -> u64 {
    let launcher = launcher(client).expect("a launcher");
    let told = || -> Vec<u64> {
        let log = cluster.log();
        let lines = log.lines().filter(|line| line.contains("; TopMemoryContext: "));
        let used = |line: &str| line.strip_suffix(" used")?.rsplit(' ').next()?.parse().ok();
        lines.filter_map(used).collect()
    };
    let before = told().len();
    let sql = "SELECT pg_log_backend_memory_contexts($1::text::int)::text";
    assert_eq!(value(client, sql, &[&launcher.to_string()]), "true");
    wait_until("the launcher tells of its memory", || told().len() > before);
    told()[before]
}

/// G10: after many flushes it has as much memory, and as many files open, as after a few.
#[test]
fn the_launcher_does_not_grow() {
    let cluster = Cluster::start(FLUSH_EVERY_200MS);
    let mut client = cluster.client();
    let key = create(&mut client, "used again and again");
    let mut after = |flushes: usize| {
        for _ in 0..flushes {
            use_key(&mut client, &key, 1);
            wait_for_flushes(&mut client, 1);
        }
        wait_until_flushed(&mut client);
        let launcher = launcher(&mut client).expect("a launcher");
        (kept(&cluster, &mut client), open_files(launcher))
    };
    let few = after(5);
    assert_eq!(after(20), few);
}
