//! The table of results.

use std::fmt::Write as _;

use crate::competitors::LOOK_UP;
use crate::connection::Result;
use crate::rounds::Standings;
use crate::statistics::median;

pub fn markdown(results: &[Standings]) -> Result<String> {
    let mut table = String::from(
        "| | calls a second | of `SELECT 1` | of the look-up | p50 µs | p99 µs | max ms | server µs | WAL bytes |\n\
         |---|--:|--:|--:|--:|--:|--:|--:|--:|\n",
    );
    for Standings { group, scores } in results {
        writeln!(table, "| **{group}** | | | | | | | | |")?;
        let look_up = scores.iter().find(|score| score.competitor.sql == LOOK_UP.sql);
        for score in scores {
            let of_look_up =
                look_up.map_or(String::new(), |other| format!("{:.2}", score.ratio_to(other)));
            let micros = |quantile| score.latencies.value_at_quantile(quantile) as f64 / 1000.0;
            writeln!(
                table,
                "| {} | {:.0} | {:.3} | {of_look_up} | {:.1} | {:.1} | {:.1} | {:.1} | {:.1} |",
                score.competitor.name,
                median(&score.per_second),
                score.ratio_to(&scores[0]),
                micros(0.5),
                micros(0.99),
                score.latencies.max() as f64 / 1_000_000.0,
                median(&score.processor_time) / 1000.0,
                score.wal_per_call(),
            )?;
        }
    }
    Ok(table)
}
