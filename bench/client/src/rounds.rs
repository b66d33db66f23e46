//! All groups, round after round.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::Path;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::cells::Group;
use crate::competitors::Competitor;
use crate::connection::{Connection, Result};
use crate::load::{self, Pool};
use crate::processors::Awake;
use crate::statistics::{median, turns};

/// What a competitor reached in its group, in all rounds.
pub struct Score {
    pub competitor: Competitor,
    /// Of each round.
    pub per_second: Vec<f64>,
    pub processor_time: Vec<f64>,
    /// Of each round, if another client wrote: its transactions a second.
    pub written: Vec<f64>,
    pub latencies: Histogram<u32>,
    calls: u64,
    wal: u64,
}

impl Score {
    pub fn wal_per_call(&self) -> f64 {
        self.wal as f64 / self.calls as f64
    }

    /// Its calls a second, as a share of those of another, in each round.
    pub fn ratios_to(&self, other: &Self) -> Vec<f64> {
        let pairs = self.per_second.iter().zip(&other.per_second);
        pairs.map(|(own, other)| own / other).collect()
    }

    /// The median of these.
    pub fn ratio_to(&self, other: &Self) -> f64 {
        median(&self.ratios_to(other))
    }

    /// How much more processor time a call takes than one of another, in each round.
    pub fn time_above(&self, other: &Self) -> Vec<f64> {
        let pairs = self.processor_time.iter().zip(&other.processor_time);
        pairs.map(|(own, other)| own - other).collect()
    }
}

/// The scores of a group.
pub struct Standings {
    pub group: Group,
    pub scores: Vec<Score>,
}

impl Standings {
    pub fn of(&self, competitor: &Competitor) -> Option<&Score> {
        self.scores.iter().find(|score| score.competitor.name == competitor.name)
    }
}

pub fn run(
    server: &Path,
    groups: &[Group],
    rounds: usize,
    time: Duration,
) -> Result<Vec<Standings>> {
    let mut control = Connection::open(server)?;
    let mut pools = HashMap::new();
    for group in groups {
        for competitor in group.competitors {
            if let Entry::Vacant(pool) = pools.entry((group.tokens, competitor.hashed)) {
                pool.insert(Pool::read(&mut control, group.tokens, competitor)?);
            }
        }
    }
    let mut results = groups
        .iter()
        .map(|group| Ok(Standings { group: *group, scores: no_scores(group)? }))
        .collect::<Result<Vec<_>>>()?;

    for round in 0..rounds {
        let began = Instant::now();
        for Standings { group, scores } in &mut results {
            let _awake = if group.awake { Some(Awake::keep()?) } else { None };
            for turn in turns(scores.len(), round) {
                let score = &mut scores[turn];
                let pool = &pools[&(group.tokens, score.competitor.hashed)];
                let outcome = load::run(server, &mut control, group, &score.competitor, pool, time)
                    .map_err(|error| format!("{group}: {}: {error}", score.competitor.sql))?;
                score.per_second.push(outcome.per_second);
                score.processor_time.push(outcome.processor_time);
                score.latencies.add(outcome.latencies)?;
                score.calls += outcome.calls;
                score.wal += outcome.wal;
                score.written.extend(outcome.written);
            }
            // What autovacuum would do, were it on.
            control.query("VACUUM vpk.key_usage, bench.used_api_keys, bench.work")?;
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
                written: Vec::new(),
                latencies: load::histogram()?,
                calls: 0,
                wal: 0,
            })
        })
        .collect()
}
