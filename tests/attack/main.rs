//! The attack: random clients against servers of their own, in nine parts, one file each. Every
//! answer is judged by what the documentation promises; `make test-attack` runs it, and
//! docs/testing.md says how.
//!
//! `attack [PART...]` runs all parts or the named ones. It reads
//!   ATTACK_SECONDS  the time for all parts together, 1800; a part has its share, also alone
//!   VIBEPEAK_SEED   the seed of every part, to repeat what an earlier run has printed
//! and fails if a part has found a fault, or has checked too few answers to say anything.

mod attack;
mod interrupts;
mod limits;
mod log;
mod meaning;
mod oracle;
mod race;
mod settings;
mod standby;
mod tasks;
mod walk;

use std::process::ExitCode;
use std::time::Duration;

use attack::{Attack, Outcome};
use support::random::Random;
use test_support as support;

/// A part of the attack.
struct Part {
    name: &'static str,
    /// Its share of the time, of all shares together.
    share: u32,
    /// How many answers it has to check at least.
    least: u64,
    run: fn(&Attack),
}

const PARTS: &[Part] = &[
    Part { name: "walk", share: 7, least: 1_000, run: walk::run },
    Part { name: "race", share: 4, least: 1_000, run: race::run },
    Part { name: "standby", share: 4, least: 150, run: standby::run },
    Part { name: "tasks", share: 3, least: 300, run: tasks::run },
    Part { name: "limits", share: 3, least: 500, run: limits::run },
    Part { name: "settings", share: 3, least: 500, run: settings::run },
    Part { name: "log", share: 4, least: 300, run: log::run },
    Part { name: "interrupts", share: 3, least: 100, run: interrupts::run },
    Part { name: "meaning", share: 2, least: 100, run: meaning::run },
];

fn main() -> ExitCode {
    let named: Vec<String> = std::env::args().skip(1).collect();
    if let Some(unknown) = named.iter().find(|name| PARTS.iter().all(|part| part.name != **name)) {
        eprintln!("there is no part {unknown}");
        return ExitCode::FAILURE;
    }
    let seconds = std::env::var("ATTACK_SECONDS").unwrap_or_else(|_| "1800".to_owned());
    let seconds: u32 = seconds.parse().expect("ATTACK_SECONDS is a number");
    let seed = Random::seed();
    let shares: u32 = PARTS.iter().map(|part| part.share).sum();

    let wanted = |part: &&Part| named.is_empty() || named.iter().any(|name| name == part.name);
    let outcomes: Vec<(&str, Outcome)> = PARTS
        .iter()
        .filter(wanted)
        .map(|part| {
            let time = Duration::from_secs(u64::from(seconds)) * part.share / shares;
            println!("== {} ({} s)", part.name, time.as_secs());
            (part.name, Attack::run(seed, time, part.least, part.run))
        })
        .collect();
    report(seed, &outcomes)
}

/// Prints the table.
fn report(seed: u64, outcomes: &[(&str, Outcome)]) -> ExitCode {
    println!("\n{:<12}{:>22}{:>10}{:>10}{:>8}", "part", "seed", "steps", "answers", "faults");
    for (name, Outcome { steps, answers, faults }) in outcomes {
        println!("{name:<12}{seed:>22}{steps:>10}{answers:>10}{faults:>8}");
    }
    let sum =
        |of: fn(&Outcome) -> u64| outcomes.iter().map(|(_, outcome)| of(outcome)).sum::<u64>();
    let (answers, faults) = (sum(|outcome| outcome.answers), sum(|outcome| outcome.faults));
    println!("\n{} parts: {answers} answers checked, {faults} faults", outcomes.len());
    if faults == 0 && !outcomes.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
