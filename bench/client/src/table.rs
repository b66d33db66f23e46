//! The table of results.

use std::fmt::Write as _;

use crate::competitors::{CAREFUL, LOOK_UP};
use crate::connection::Result;
use crate::rounds::{Score, Standings};
use crate::statistics::median;

pub fn markdown(results: &[Standings]) -> Result<String> {
    let mut table = String::from(
        "| | calls a second | of `SELECT 1` | of the look-up | of the careful query | p50 µs | p99 µs | max ms | server µs | WAL bytes |\n\
         |---|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n",
    );
    for standings in results {
        let Standings { group, scores } = standings;
        writeln!(table, "| **{group}** | | | | | | | | | |")?;
        for score in scores {
            let of = |other: Option<&Score>| {
                other.map_or(String::new(), |other| format!("{:.2}", score.ratio_to(other)))
            };
            // At work, the WAL of the client that writes is in it.
            let wal =
                if group.at_work { String::new() } else { format!("{:.1}", score.wal_per_call()) };
            let micros = |quantile| score.latencies.value_at_quantile(quantile) as f64 / 1000.0;
            writeln!(
                table,
                "| {} | {:.0} | {:.3} | {} | {} | {:.1} | {:.1} | {:.1} | {:.1} | {wal} |",
                score.competitor.name,
                median(&score.per_second),
                score.ratio_to(&scores[0]),
                of(standings.of(&LOOK_UP)),
                of(standings.of(&CAREFUL)),
                micros(0.5),
                micros(0.99),
                score.latencies.max() as f64 / 1_000_000.0,
                median(&score.processor_time) / 1000.0,
            )?;
        }
    }
    let written: Vec<f64> = results
        .iter()
        .flat_map(|group| &group.scores)
        .flat_map(|score| &score.written)
        .copied()
        .collect();
    if !written.is_empty() {
        let lowest = written.iter().copied().fold(f64::INFINITY, f64::min);
        writeln!(
            table,
            "\nAt work, another client committed {:.0} updates a second (median of the turns; lowest {lowest:.0}).",
            median(&written)
        )?;
    }
    Ok(table)
}
