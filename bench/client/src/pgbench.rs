//! Whether this load generator is in the way: `SELECT 1` by pgbench beside it.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use crate::cells;
use crate::competitors::SELECT_1;
use crate::connection::{Connection, Result};
use crate::load::{self, Pool};
use crate::processors::{self, Awake};
use crate::statistics::median;

/// Calls a second by this program and by pgbench, prepared, one client.
pub fn compare(
    server: &Path,
    programs: &Path,
    rounds: usize,
    time: Duration,
) -> Result<(f64, f64)> {
    let mut control = Connection::open(server)?;
    let group = &cells::all()[0];
    let pool = Pool::read(&mut control, group.tokens, &SELECT_1)?;
    let _awake = Awake::keep()?;
    let (mut own, mut others) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        own.push(load::run(server, &mut control, group, &SELECT_1, &pool, time)?.per_second);
        others.push(pgbench(server, &mut control, programs, time)?);
    }
    Ok((median(&own), median(&others)))
}

fn pgbench(
    server: &Path,
    control: &mut Connection,
    programs: &Path,
    time: Duration,
) -> Result<f64> {
    let mut pgbench = Command::new(programs.join("pgbench"))
        .args(["-n", "-M", "prepared", "-c", "1", "-T", &time.as_secs().max(1).to_string()])
        .args(["-f", "/dev/stdin", "-p", "5432", "-U", "postgres", "-h"])
        .arg(server)
        .arg("postgres")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    // Taken, so that it is closed.
    pgbench.stdin.take().ok_or("pgbench reads nothing")?.write_all(b"SELECT 1;\n")?;
    let session = "SELECT max(pid) FROM pg_stat_activity WHERE application_name = 'pgbench'";
    let backend = loop {
        let found = control.query(session)?.into_iter().flatten().next().flatten();
        match found {
            Some(backend) => break backend.parse()?,
            None if pgbench.try_wait()?.is_some() => return Err("pgbench ended".into()),
            None => thread::sleep(Duration::from_millis(1)),
        }
    };
    processors::share_one([backend, pgbench.id()])?;
    let output = pgbench.wait_with_output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let rate = text.lines().find_map(|line| line.strip_prefix("tps = "));
    let rate = rate
        .and_then(|rate| rate.split(' ').next())
        .ok_or_else(|| format!("pgbench failed: {}", String::from_utf8_lossy(&output.stderr)))?;
    Ok(rate.parse()?)
}
