//! One part of the attack while it runs: its time, its counts, and the faults that it finds.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::SeqCst};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};
use std::{process, thread};

use crate::support::random::Random;
use crate::support::sessions;

/// A part ends after so many faults, unless `ATTACK_FAULTS` names another number.
const ENOUGH_FAULTS: u64 = 5;

/// How often a part is looked at.
const TURN: Duration = Duration::from_secs(1);

/// For so many turns no step of a part may end and no answer come. The limit is for a part that
/// hangs: a step is milliseconds of work, which a busy machine only delays.
const PATIENCE: u32 = 600;

/// The state of a running part, shared by its threads.
pub struct Attack {
    seed: u64,
    end: Instant,
    least: u64,
    steps: AtomicU64,
    answers: AtomicU64,
    faults: AtomicU64,
    turns_without_an_answer: AtomicU32,
    /// Whether a thread has panicked.
    broken: AtomicBool,
    /// After how many faults the part ends.
    enough: u64,
}

/// What came of a part.
pub struct Outcome {
    pub steps: u64,
    pub answers: u64,
    pub faults: u64,
}

impl Attack {
    /// Runs a part for about so long. A panic is a fault, and so are too few answers.
    pub fn run(seed: u64, time: Duration, least: u64, part: fn(&Attack)) -> Outcome {
        let attack = Attack {
            seed,
            end: Instant::now() + time,
            least,
            steps: AtomicU64::new(0),
            answers: AtomicU64::new(0),
            faults: AtomicU64::new(0),
            turns_without_an_answer: AtomicU32::new(0),
            broken: AtomicBool::new(false),
            enough: std::env::var("ATTACK_FAULTS")
                .map_or(ENOUGH_FAULTS, |number| number.parse().expect("ATTACK_FAULTS is a number")),
        };
        thread::scope(|scope| {
            let (ended, end) = mpsc::channel::<()>();
            let attack = &attack;
            scope.spawn(move || attack.watch(&end));
            attack.guard(|| part(attack));
            drop(ended);
        });
        let answers = attack.answers.load(SeqCst);
        if answers < least {
            attack.fault(format!("only {answers} answers were checked, fewer than {least}"));
        }
        Outcome { steps: attack.steps.load(SeqCst), answers, faults: attack.faults.load(SeqCst) }
    }

    /// Ends the process if the part hangs, until the part has ended.
    fn watch(&self, end: &Receiver<()>) {
        let done = || [self.answers.load(SeqCst), self.steps.load(SeqCst)];
        let (mut before, mut turns) = (done(), 0);
        // Turns are counted, not the time between them: a machine that stands still has none.
        while end.recv_timeout(TURN) == Err(RecvTimeoutError::Timeout) {
            let now = done();
            turns = if now == before { turns + 1 } else { 0 };
            if now[0] == before[0] {
                self.turns_without_an_answer.fetch_add(1, SeqCst);
            } else {
                self.turns_without_an_answer.store(0, SeqCst);
            }
            before = now;
            if turns == PATIENCE {
                // What hangs cannot be ended from here. The servers end with this process.
                println!("FAULT (VIBEPEAK_SEED={}): the part hangs. Its sessions:", self.seed);
                println!("{}", sessions::of_all_servers());
                process::exit(1);
            }
        }
    }

    /// Runs what belongs to the part, perhaps in a thread of its own. A panic is a fault, and ends
    /// all threads.
    pub fn guard(&self, run: impl FnOnce()) {
        if catch_unwind(AssertUnwindSafe(run)).is_err() {
            self.broken.store(true, SeqCst);
            self.fault("the attack has panicked, as said above".to_owned());
        }
    }

    /// The seed of a round. That of the first is the printed one: so any round can be had again as
    /// the first of another run.
    pub fn seed(&self, round: u64) -> u64 {
        self.seed.wrapping_add(round)
    }

    /// The random numbers of a round, and of a thread in it.
    pub fn random(&self, round: u64, thread: u64) -> Random {
        Random::seeded(self.seed(round) ^ thread << 48)
    }

    /// Whether there is time for more. Seconds say how long to try, and nothing of right or wrong:
    /// a slow machine goes on until enough was checked, as long as answers come.
    pub fn goes_on(&self) -> bool {
        let too_few = self.answers.load(SeqCst) < self.least
            && self.turns_without_an_answer.load(SeqCst) < PATIENCE;
        let enough = self.faults.load(SeqCst) >= self.enough || self.broken.load(SeqCst);
        (Instant::now() < self.end || too_few) && !enough
    }

    /// Counts something that was done.
    pub fn step(&self) {
        self.steps.fetch_add(1, SeqCst);
    }

    /// Counts an answer that was compared; one that is wrong is a fault.
    pub fn check(&self, right: bool, what: impl FnOnce() -> String) {
        self.check_many(1, right, what);
    }

    /// The same for so many answers that were compared at once.
    pub fn check_many(&self, number: u64, right: bool, what: impl FnOnce() -> String) {
        self.answers.fetch_add(number, SeqCst);
        if !right {
            self.fault(what());
        }
    }

    /// Records a fault.
    pub fn fault(&self, what: String) {
        if self.faults.fetch_add(1, SeqCst) < self.enough {
            println!("FAULT (VIBEPEAK_SEED={}): {what}", self.seed);
        }
    }
}
