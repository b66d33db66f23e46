//! Another client that writes, so that some transaction ends all the time, as on a database in
//! production.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::connection::{Connection, Result};

/// Transactions a second, each of one small update.
pub const PER_SECOND: u32 = 500;

/// Rows of its table, which are updated in turns.
const ROWS: u32 = 100;

/// It writes until this is dropped.
pub struct Writer {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<f64>>>,
}

impl Writer {
    pub fn start(server: &Path) -> Result<Self> {
        let mut connection = Connection::open(server)?;
        // One client that waits for the disk commits fewer than that.
        connection.query("SET synchronous_commit = off")?;
        connection.query(
            "PREPARE work AS UPDATE bench.work SET updates = updates + 1 WHERE number = $1",
        )?;
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let thread = Some(thread::spawn(move || write(&mut connection, &told)));
        Ok(Self { stop, thread })
    }

    /// Ends it. Returns the number of transactions that it committed in a second.
    pub fn finish(mut self) -> Result<f64> {
        self.end().unwrap_or_else(|| Err("the writer has ended before".into()))
    }

    fn end(&mut self) -> Option<Result<f64>> {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.take()?.join();
        Some(ended.unwrap_or_else(|_| Err("the writer panicked".into())))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // After a failure elsewhere, which is what is reported.
        let _ = self.end();
    }
}

fn write(connection: &mut Connection, stop: &AtomicBool) -> Result<f64> {
    let began = Instant::now();
    let mut written = 0;
    while !stop.load(Ordering::Relaxed) {
        connection.query(&format!("EXECUTE work({})", written % ROWS))?;
        written += 1;
        // If it is late, it catches up.
        let due = began + Duration::from_secs(1) * written / PER_SECOND;
        thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    Ok(f64::from(written) / began.elapsed().as_secs_f64())
}
