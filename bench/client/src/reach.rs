//! The aims for the extension, and what it reached.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use crate::cells::{self, Group};
use crate::competitors::{AUTHENTICATE, CAREFUL, CONSTANT, Competitor, EMPTY, SELECT_1, VERIFY};
use crate::connection::Result;
use crate::inside;
use crate::rounds::{self, Score, Standings};
use crate::statistics::median;
use crate::table;

/// The aim for a median of the rounds.
#[derive(Clone, Copy)]
pub enum Limit {
    /// At least this share of the other's calls a second.
    Share(f64),
    /// At most so many microseconds of processor time more for each call.
    Above(f64),
    /// Nothing: the share, or the difference, is only shown.
    Shown,
    ShownAbove,
}

struct Aim {
    of: Competitor,
    beside: Competitor,
    limit: Limit,
}

/// The aims in a group.
fn aims(group: &Group) -> Vec<Aim> {
    let aim = |of, beside, limit| Aim { of, beside, limit };
    if !group.has_floors() {
        // Nobody is to be slower than with a query of their own.
        return vec![aim(AUTHENTICATE, CAREFUL, Limit::Share(1.0))];
    }
    let one = group.clients == 1;
    let mut aims = vec![
        aim(AUTHENTICATE, CAREFUL, Limit::Share(if one { 1.4 } else { 1.35 })),
        aim(AUTHENTICATE, EMPTY, Limit::Share(0.88)),
        aim(AUTHENTICATE, EMPTY, Limit::Above(2.0)),
        aim(AUTHENTICATE, CONSTANT, Limit::Share(if one { 0.85 } else { 0.8 })),
    ];
    if group.at_work {
        aims.push(aim(VERIFY, SELECT_1, Limit::Above(1.2)));
        let share = if one { Limit::Shown } else { Limit::Share(0.85) };
        aims.push(aim(VERIFY, SELECT_1, share));
    }
    aims
}

/// A table of the aims over the wire.
pub fn markdown(results: &[Standings]) -> Result<String> {
    let mut table = heading();
    for standings in results {
        for Aim { of, beside, limit } in aims(&standings.group) {
            let (Some(own), Some(other)) = (standings.of(&of), standings.of(&beside)) else {
                continue;
            };
            let values: Vec<f64> = match limit {
                Limit::Above(_) | Limit::ShownAbove => {
                    own.time_above(other).iter().map(|nanos| nanos / 1e3).collect()
                }
                Limit::Share(_) | Limit::Shown => own.ratios_to(other),
            };
            let what = format!("{} beside {}", of.short, beside.short);
            let p50 = |score: &Score| score.latencies.value_at_quantile(0.5) as f64;
            let by_p50 = match limit {
                Limit::Above(_) | Limit::ShownAbove => String::new(),
                Limit::Share(_) | Limit::Shown => format!("{:.2}", p50(other) / p50(own)),
            };
            let group = standings.group.to_string();
            line(&mut table, &group, &what, limit, &values, &by_p50)?;
        }
    }
    Ok(table)
}

pub fn heading() -> String {
    "| | | aim | median | | lowest | highest | by p50 |\n|---|---|--:|--:|---|--:|--:|--:|\n"
        .to_owned()
}

/// A line for the values of the rounds.
pub fn line(
    table: &mut String,
    group: &str,
    what: &str,
    limit: Limit,
    values: &[f64],
    by_p50: &str,
) -> Result<()> {
    let reached = median(values);
    let (unit, aim, met) = match limit {
        Limit::Share(least) => ("", format!("≥ {least:.2}"), reached >= least),
        Limit::Above(most) => (" µs", format!("≤ +{most:.1} µs"), reached <= most),
        Limit::Shown => ("", String::new(), true),
        Limit::ShownAbove => (" µs", String::new(), true),
    };
    let verdict = if met { "" } else { "**missed**" };
    let lowest = values.iter().copied().fold(f64::INFINITY, f64::min);
    let highest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    writeln!(
        table,
        "| {group} | {what} | {aim} | {reached:.2}{unit} | {verdict} | {lowest:.2} | {highest:.2} | {by_p50} |"
    )?;
    Ok(())
}

/// Measures only what the floors need, and prints it. The groups, and the cases inside the server,
/// are those whose names are wanted.
pub fn print(server: &Path, rounds: usize, time: Duration, wanted: &str) -> Result<()> {
    let groups: Vec<Group> = cells::with_floors()
        .into_iter()
        .filter(|group| cells::is_wanted(&group.to_string(), wanted))
        .collect();
    let results = rounds::run(server, &groups, rounds, time)?;
    let rows = inside::rows(server, rounds, wanted)?;
    if !results.is_empty() {
        println!("{}\n{}", table::markdown(&results)?, markdown(&results)?);
    }
    if !rows.is_empty() {
        println!("{}\n{}", inside::table_of_rows(&rows)?, inside::reach_of_rows(&rows)?);
    }
    if results.is_empty() && rows.is_empty() {
        return Err("BENCH_CELLS chooses nothing".into());
    }
    Ok(())
}
