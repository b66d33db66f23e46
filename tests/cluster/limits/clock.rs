//! G11 and G12: what becomes of limits when somebody sets the machine's clock.
//!
//! libfaketime changes the wall clock of one server, and leaves its monotonic clock alone. The
//! machine's own clock is never set.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use super::identifiers::limit;
use crate::support::keys::{Key, create_for, set_plan, verify};
use crate::support::known::run;
use crate::support::usage::FLUSH_EVERY_100MS;
use crate::support::{Client, Cluster, value, wait_until};

const HOUR: i64 = 3_600;
/// The steps of the clock: forward, back to where it was, further back, and forward again.
const STEPS: [(&str, i64); 4] =
    [("an hour on", HOUR), ("back", 0), ("an hour back", -HOUR), ("back again", 0)];
/// What a test may take, in seconds. It is less than what a limit below needs to earn a call.
const PATIENCE: i64 = 900;

/// A server whose wall clock can be set.
struct Stepped {
    cluster: Cluster,
    /// From the machine's clock to the server's at the start, in seconds: then it is half past.
    offset: i64,
}

impl Stepped {
    fn start() -> Stepped {
        let now =
            SystemTime::now().duration_since(UNIX_EPOCH).expect("a time after 1970").as_secs();
        let cluster = Cluster::start(FLUSH_EVERY_100MS);
        cluster.down();
        let stepped = Stepped { cluster, offset: HOUR / 2 - now as i64 % HOUR };
        stepped.write(0);
        let library = format!("LD_PRELOAD={}", library());
        let file = format!("FAKETIME_TIMESTAMP_FILE={}/clock", stepped.cluster.socket());
        let others = ["FAKETIME_DONT_FAKE_MONOTONIC=1", "DONT_FAKE_MONOTONIC=1"];
        let at_once = ["FAKETIME_NO_CACHE=1", "FAKETIME_DISABLE_SHM=1"];
        stepped.cluster.up_with(&[&[&library[..], &file], &others[..], &at_once].concat());
        stepped
    }

    /// Sets the clock to so many seconds from where it was at the start. Open sessions see it.
    fn step(&self, client: &mut Client, seconds: i64) {
        self.write(seconds);
        let shown =
            value(client, "SELECT extract(epoch FROM clock_timestamp())::bigint::text", &[]);
        let now =
            SystemTime::now().duration_since(UNIX_EPOCH).expect("a time after 1970").as_secs();
        let ahead = shown.parse::<i64>().expect("a number") - now as i64 - self.offset;
        assert!((seconds - 60..=seconds + 60).contains(&ahead), "{ahead}, and not {seconds}");
    }

    /// At once, so that nobody reads half a number.
    fn write(&self, seconds: i64) {
        let folder = self.cluster.socket();
        let (new, file) = (format!("{folder}/new_clock"), format!("{folder}/clock"));
        fs::write(&new, format!("{:+}", self.offset + seconds)).expect("a file");
        fs::rename(&new, &file).expect("its name");
    }
}

/// The path of libfaketime, where the packages of Debian and others have it.
fn library() -> String {
    let folders = fs::read_dir("/usr/lib").expect("/usr/lib").flatten().map(|entry| entry.path());
    let mut files = folders.flat_map(|folder| {
        [folder.join("faketime/libfaketime.so.1"), folder.join("libfaketime.so.1")]
    });
    let found = files.find(|file| file.exists()).expect("libfaketime: run 'tools/setup test'");
    found.to_str().expect("a plain path").to_owned()
}

/// A key of the account `acme` on the plan Plus.
fn key(client: &mut Client) -> Key {
    set_plan(client, "acme", "Plus");
    create_for(client, "key", "acme")
}

/// The seconds in an answer, which become less while the test runs, and the rest of it.
fn without_seconds(answer: &str) -> (Vec<i64>, String) {
    let words = answer.split(' ').map(|word| word.parse::<i64>().map_err(|_| word));
    let (seconds, rest): (Vec<_>, Vec<_>) = words.partition(|word| word.is_ok_and(|word| word > 9));
    let rest = rest.iter().map(|word| word.map_or_else(str::to_owned, |word| word.to_string()));
    (seconds.into_iter().flatten().collect(), rest.collect::<Vec<_>>().join(" "))
}

/// G11: no answer of a rate limit changes when the clock is set, of whatever kind it is.
#[test]
fn no_rate_limit_answers_otherwise_when_the_clock_is_set() {
    let stepped = Stepped::start();
    let mut client = stepped.cluster.client();
    let key = key(&mut client);
    run(
        &mut client,
        "SELECT vpk_set_rate_limit('hour', 2, '1 hour', plan => 'Plus');
         SELECT vpk_set_rate_limit('month', 5, '31 days', plan => 'Plus')",
    );
    let attempts = "'sign-in', 2, '1 hour'";
    assert_eq!([verify(&mut client, &key.token), limit(&mut client, attempts)], ["VALID", "t 1 -"]);
    // What is left and what a call would be told; and the same when nothing is left.
    let state = "SELECT string_agg(concat_ws(' ', s.policy, s.remaining,
                                             extract(epoch FROM s.resets_in)::bigint), ' ')
                   FROM vpk_rate_limit_state(account => 'acme') AS s";
    let told = "SELECT concat_ws(' ', a.status, a.headers ->> 'Retry-After')
                  FROM vpk_authenticate('Bearer ' || $1, cost => 0) AS a";
    let answers = |client: &mut Client| {
        [
            value(client, state, &[]),
            value(client, told, &[&key.token]),
            limit(client, &format!("{attempts}, cost => 0")),
        ]
    };
    for used_up in [false, true] {
        if used_up {
            assert_eq!(verify(&mut client, &key.token), "VALID");
            assert_eq!(limit(&mut client, attempts), "t 0 -");
        }
        let before = answers(&mut client).map(|answer| without_seconds(&answer));
        for (step, seconds) in STEPS {
            stepped.step(&mut client, seconds);
            for session in [&mut client, &mut stepped.cluster.client()] {
                if used_up {
                    assert_eq!(verify(session, &key.token), "RATE_LIMITED", "{step}");
                    assert!(limit(session, attempts).starts_with("f 0 "), "{step}");
                }
                let now = answers(session).map(|answer| without_seconds(&answer));
                for ((then, same), (seconds, rest)) in before.iter().zip(&now) {
                    assert_eq!(rest, same, "{step}");
                    assert_eq!(seconds.len(), then.len(), "{step}");
                    for (seconds, then) in seconds.iter().zip(then) {
                        let right = then - PATIENCE..=*then;
                        assert!(right.contains(seconds), "{step}: {seconds} after {then}");
                    }
                }
            }
        }
    }
}

/// G12: a quota follows the calendar. A step over the end of the hour begins a new period, and a
/// step back finds the one before as it was left. What was used is flushed meanwhile.
#[test]
fn a_quota_follows_the_calendar() {
    let stepped = Stepped::start();
    let mut client = stepped.cluster.client();
    let key = key(&mut client);
    run(&mut client, "SELECT vpk_set_quota(3, 'hour', plan => 'Plus')");
    let in_table = "SELECT coalesce(string_agg(used::text, ' ' ORDER BY period_start), '')
                      FROM vpk.quota_usage WHERE subject = 'acme'";
    let table = |client: &mut Client, used: &str| {
        wait_until(&format!("the table has {used}"), || value(client, in_table, &[]) == used);
    };
    let passing = |client: &mut Client, calls: usize| {
        (0..calls).filter(|_| verify(client, &key.token) == "VALID").count()
    };
    assert_eq!(passing(&mut client, 5), 3);
    table(&mut client, "3");
    stepped.step(&mut client, HOUR);
    // In memory and in the table: of the hour before, and of this one.
    assert_eq!(passing(&mut client, 2), 2);
    stepped.step(&mut client, 0);
    assert_eq!(passing(&mut client, 2), 0);
    table(&mut client, "3 2");
    stepped.step(&mut client, HOUR);
    assert_eq!(passing(&mut stepped.cluster.client(), 5), 1);
    stepped.step(&mut client, -HOUR);
    assert_eq!(passing(&mut client, 5), 3);
    // The worker goes on although its clock has gone back by two hours.
    table(&mut client, "3 3 3");
    for (step, seconds) in STEPS {
        stepped.step(&mut client, seconds);
        for session in [&mut client, &mut stepped.cluster.client()] {
            assert_eq!(passing(session, 2), 0, "{step}");
        }
    }
}
