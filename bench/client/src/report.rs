//! The whole run: what is measured, and the page it makes.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::cells;
use crate::connection::{Connection, Result};
use crate::machine::{self, Usage};
use crate::{inside, pgbench, plot, reach, rounds, table};

/// From which share of the processors on, in percent, others spoil the results.
const DISTURBED: f64 = 5.0;

/// What a run is told.
pub struct Options<'a> {
    /// The folder of the server, and that of its programs.
    pub server: &'a Path,
    pub programs: &'a Path,
    /// Where the page and the plot go.
    pub results: &'a Path,
    pub rounds: usize,
    pub seconds: f64,
    pub cells: &'a str,
}

/// Measures everything, writes results.md and results.svg, and prints the first.
pub fn write(options: &Options) -> Result<()> {
    let Options { server, rounds, seconds, .. } = *options;
    let time = Duration::from_secs_f64(seconds);
    let groups: Vec<_> = cells::all()
        .into_iter()
        .filter(|group| cells::is_wanted(&group.to_string(), options.cells))
        .collect();
    if groups.is_empty() {
        return Err("BENCH_CELLS chooses none of the groups".into());
    }

    let mut database = Connection::open(server)?;
    let keys = database.value("SELECT count(*) FROM bench.every_key")?;
    let (began, before) = (Instant::now(), Usage::now(server)?);
    let results = rounds::run(server, &groups, rounds, time)?;
    let dropped = database.value(
        "SELECT round(100.0 * uses_dropped / greatest(uses_flushed + uses_dropped, 1), 1) FROM vpk.stats",
    )?;
    let (own, pgbench) = pgbench::compare(server, options.programs, rounds, time)?;
    let inside = inside::report(server, rounds)?;
    let rows = inside::rows(server, rounds, "")?;
    let memory = inside::memory_report(server)?;
    let minutes = began.elapsed().as_secs_f64() / 60.0;
    let (others, stolen) = Usage::now(server)?.of_others_since(&before);
    let warning = if others + stolen > DISTURBED {
        "\n\n**That is too much: only buffers and WAL can be relied on here.\n\
         Run it again on a quiet machine.**"
    } else {
        ""
    };
    let page = format!(
        "# Results\n\n\
         Written by `make bench`; [README.md](README.md) says what is compared, and what the columns mean.\n\n\
         {machine}.\n\
         {keys} keys, {rounds} rounds of {seconds} s for each line, {minutes:.0} minutes.\n\
         Meanwhile, other programs used {others:.1} % of the processors,\n\
         and other machines on the same hardware {stolen:.1} %.{warning}\n\n\
         ![Calls a second, as a share of SELECT 1](results.svg)\n\n\
         ## Over the wire\n\n{table}\n\
         Of the uses that the extension counted, {dropped} % found no slot\n\
         (`vibepeak_keys.usage_slots` at its default).\n\n\
         `SELECT 1`, prepared, 1 client: {own:.0} calls a second by this load generator\n\
         and {pgbench:.0} by pgbench, in turns.\n\n\
         ## The aims\n\n{reach}\n{reach_inside}\n\
         ## Inside the server\n\n{inside}\n{rows}\n{memory}\n",
        machine = machine::description(&mut database)?,
        table = table::markdown(&results)?,
        reach = reach::markdown(&results)?,
        reach_inside = inside::reach_of_rows(&rows)?,
        rows = inside::table_of_rows(&rows)?,
    );
    fs::write(options.results.join("results.md"), &page)?;
    fs::write(options.results.join("results.svg"), plot::svg(&results)?)?;
    print!("{page}");
    Ok(())
}
