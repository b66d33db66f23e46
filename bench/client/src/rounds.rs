//! All groups, round after round.

use std::path::Path;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::awake::Awake;
use crate::cells::Group;
use crate::competitors::{Competitor, Tokens};
use crate::connection::{Connection, Result};
use crate::load::{self, Pool};
use crate::statistics::{median, turns};

/// What a competitor reached in its group, in all rounds.
pub struct Score {
    pub competitor: Competitor,
    /// Of each round.
    pub per_second: Vec<f64>,
    pub processor_time: Vec<f64>,
    pub latencies: Histogram<u32>,
    calls: u64,
    wal: u64,
}

impl Score {
    pub fn wal_per_call(&self) -> f64 {
        self.wal as f64 / self.calls as f64
    }

    /// The median of the rounds' ratios.
    pub fn ratio_to(&self, other: &Self) -> f64 {
        let pairs = self.per_second.iter().zip(&other.per_second);
        median(&pairs.map(|(own, other)| own / other).collect::<Vec<_>>())
    }
}

/// The scores of a group.
pub struct Standings {
    pub group: Group,
    pub scores: Vec<Score>,
}

pub fn run(
    server: &Path,
    groups: &[Group],
    rounds: usize,
    time: Duration,
) -> Result<Vec<Standings>> {
    let mut control = Connection::open(server)?;
    let pools = Tokens::ALL
        .iter()
        .map(|tokens| Ok((*tokens, Pool::read(&mut control, *tokens)?)))
        .collect::<Result<Vec<_>>>()?;
    let mut results = groups
        .iter()
        .map(|group| Ok(Standings { group: *group, scores: no_scores(group)? }))
        .collect::<Result<Vec<_>>>()?;

    for round in 0..rounds {
        let began = Instant::now();
        for Standings { group, scores } in &mut results {
            let pool = pools
                .iter()
                .find_map(|(tokens, pool)| (*tokens == group.tokens).then_some(pool))
                .ok_or("no such tokens")?;
            let _awake = if group.awake { Some(Awake::keep()?) } else { None };
            for turn in turns(scores.len(), round) {
                let score = &mut scores[turn];
                let outcome = load::run(server, &mut control, group, &score.competitor, pool, time)
                    .map_err(|error| format!("{group}: {}: {error}", score.competitor.sql))?;
                score.per_second.push(outcome.per_second);
                score.processor_time.push(outcome.processor_time);
                score.latencies.add(outcome.latencies)?;
                score.calls += outcome.calls;
                score.wal += outcome.wal;
            }
            // What autovacuum would do, were it on.
            control.query("VACUUM vpk.key_usage, bench.used_api_keys")?;
        }
        eprintln!("round {} of {rounds}: {} s", round + 1, began.elapsed().as_secs());
    }
    Ok(results)
}

fn no_scores(group: &Group) -> Result<Vec<Score>> {
    group
        .competitors
        .iter()
        .map(|competitor| {
            Ok(Score {
                competitor: *competitor,
                per_second: Vec::new(),
                processor_time: Vec::new(),
                latencies: load::histogram()?,
                calls: 0,
                wal: 0,
            })
        })
        .collect()
}
