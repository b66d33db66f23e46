//! Many backends issue keys at once, and no two keys are alike (docs/security.md says how keys are
//! drawn).

use std::collections::HashSet;
use std::thread;

use crate::support::keys::{create, revoke, verify, well_formed};
use crate::support::redaction::{Logged, libraries};
use crate::support::{Cluster, value};

const BACKENDS: usize = 8;
const KEYS: usize = 100_000;
/// Exceeded once in a thousand million runs by chi-squared with 61 degrees of freedom.
const BOUND: f64 = 153.0;

/// How far the counts of the 62 characters are from even.
fn chi_squared(counts: &[u32; 256]) -> f64 {
    let counts = (0u8..=255).filter(u8::is_ascii_alphanumeric).map(|c| counts[usize::from(c)]);
    let total: u32 = counts.clone().sum();
    let expected = f64::from(total) / 62.0;
    counts.map(|count| (f64::from(count) - expected).powi(2) / expected).sum()
}

/// With the library loaded before the fork: no duplicate key or id, the random characters evenly
/// distributed, together and each, and ids in the order of creation in each backend.
#[test]
fn a_hundred_thousand_keys_of_several_backends_are_distinct_and_random() {
    let cluster = Cluster::start(&[("synchronous_commit", "off"), ("max_wal_size", "4GB")]);
    let backends: Vec<_> = (0..BACKENDS)
        .map(|_| {
            let mut client = cluster.client();
            thread::spawn(move || -> Vec<(String, String)> {
                let sql = "SELECT k.id::text, k.token
                             FROM generate_series(1, $1) AS g, vpk_create('k' || g) AS k";
                let rows = client.query(sql, &[&((KEYS / BACKENDS) as i32)]).expect("keys");
                rows.iter().map(|row| (row.get(0), row.get(1))).collect()
            })
        })
        .collect();
    let issued: Vec<_> = backends.into_iter().map(|keys| keys.join().expect("keys")).collect();

    for keys in &issued {
        assert!(keys.is_sorted_by(|one, next| one.0 < next.0), "ids in order of creation");
    }
    let keys: Vec<(String, String)> = issued.into_iter().flatten().collect();
    assert_eq!(keys.len(), KEYS);
    assert_eq!(keys.iter().map(|key| &key.0).collect::<HashSet<_>>().len(), KEYS, "ids");
    assert_eq!(keys.iter().map(|key| &key.1[9..35]).collect::<HashSet<_>>().len(), KEYS, "keys");

    let mut all = [0; 256];
    let mut each = [[0; 256]; 26];
    for (_, token) in &keys {
        assert!(token.starts_with("vpk_live_") && well_formed(token.as_bytes()), "{token}");
        for (position, character) in token.as_bytes()[9..35].iter().enumerate() {
            all[usize::from(*character)] += 1;
            each[position][usize::from(*character)] += 1;
        }
    }
    assert!(chi_squared(&all) < BOUND, "{}", chi_squared(&all));
    for (position, counts) in each.iter().enumerate() {
        let chi_squared = chi_squared(counts);
        assert!(chi_squared < BOUND, "character {position}: {chi_squared}");
    }
}

/// A generator that was seeded before the fork would give each new backend the same first key.
#[test]
fn the_first_keys_of_new_backends_differ() {
    let cluster = Cluster::start(&[]);
    let tokens: HashSet<String> =
        (0..50).map(|_| create(&mut cluster.client(), "first").token).collect();
    assert_eq!(tokens.len(), 50);
    let starts: HashSet<&str> = tokens.iter().map(|token| &token[9..15]).collect();
    assert_eq!(starts.len(), 50, "not even their beginnings are alike");
}

/// Ids show when a key was created (RFC 9562, section 5.7), and a random part of them does not
/// repeat.
#[test]
fn ids_are_of_version_7() {
    let cluster = Cluster::start(&[]);
    let sql = "SELECT count(*)::text FROM generate_series(1, 100), vpk_create('id') AS k
                WHERE k.id::text ~ '^.{14}7.{4}[89ab]'
                  AND ('x' || translate(left(k.id::text, 13), '-', ''))::bit(48)::bigint
                      = floor(extract(epoch FROM k.created_at) * 1000)";
    assert_eq!(value(&mut cluster.client(), sql, &[]), "100");
}

/// The library need not be preloaded.
#[test]
fn keys_are_created_and_verified_without_preloading() {
    let cluster = Cluster::start(&[("shared_preload_libraries", "")]);
    let (mut admin, mut verifier) = (cluster.client(), cluster.client());
    let key = create(&mut admin, "not preloaded");
    assert_eq!(verify(&mut verifier, &key.token), "VALID");
    revoke(&mut admin, &key);
    assert_eq!(verify(&mut verifier, &key.token), "API_KEY_REVOKED");
}

/// What an extension records of accesses to tables is complete where one statement makes many keys.
#[test]
fn each_of_many_keys_is_audited() {
    let libraries = libraries(&["vibepeak_keys", "pgaudit"]);
    if libraries.len() < 2 {
        return;
    }
    let mut logged = Logged::start(&[
        ("shared_preload_libraries", &libraries.join(",")),
        ("pgaudit.log", "write"),
        ("pgaudit.log_relation", "on"),
    ]);
    let mut client = logged.cluster.client();
    let sql = "SELECT count(k.id) FROM generate_series(1, 10) AS g, vpk_create('k' || g) AS k";
    client.batch_execute(sql).expect("keys");
    for lines in logged.lines() {
        for table in ["keys", "events"] {
            let written = format!("WRITE,INSERT,TABLE,vpk.{table},");
            assert_eq!(lines.matches(&written).count(), 10, "{table}: {lines}");
        }
    }
}
