//! G1 and G2 while rows are updated: a session that has just verified a key sees every version of
//! its row from its commit on, none before and none after it, wherever on the table's pages it is.

use crate::cache::cluster;
use crate::support::keys::{create, verify};
use crate::support::known::{
    Answers, DISABLED, INVALID, Known, PLAN, REVOKED, VALID, assert_healthy, run,
};
use crate::support::{Client, value};

const EXPIRED: &str = "API_KEY_EXPIRED";
const LIMITED: &str = "IP_NOT_ALLOWED";

/// Changes of a key, $1, as its table's owner may make them, and what it answers then. Those of
/// `disabled_at` and `allowed_ips` touch no indexed column: their versions may stay on the page
/// without an index entry.
const CHANGES: [(&str, &str); 12] = [
    ("revoked_at = now()", REVOKED),
    ("revoked_at = NULL", VALID),
    ("disabled_at = now()", DISABLED),
    ("disabled_at = NULL, scopes = '{a,b}'", VALID),
    ("allowed_ips = '{192.0.2.0/24}'", LIMITED),
    ("allowed_ips = NULL", VALID),
    ("expires_at = clock_timestamp()", EXPIRED),
    ("expires_at = clock_timestamp() + '1 hour'", VALID),
    ("account = 'poor'", PLAN),
    ("account = 'acme'", VALID),
    ("account = 'nobody'", PLAN),
    ("account = 'acme', expires_at = NULL", VALID),
];

/// Makes the row's new version stay on the page, or not.
const SMALL: &str = "metadata = '{\"x\": 1}'";
const LARGE: &str =
    "metadata = (SELECT jsonb_build_object('x', string_agg(md5(random()::text), ''))
                                   FROM generate_series(1, 50))";

/// The page of the key's row, and how many versions the session has made without an index entry.
/// The server reports the latter now and then between transactions, and counts from 0 again.
fn place(client: &mut Client, known: &Known) -> (i64, i64) {
    let sql = "SELECT split_part(trim(ctid::text, '()'), ',', 1)::bigint,
                      pg_stat_get_xact_tuples_hot_updated('vpk.keys'::regclass)
                 FROM vpk.keys WHERE id = $1::text::uuid";
    let row = client.query_one(sql, &[&known.key.id]).expect("the row");
    (row.get(0), row.get(1))
}

/// What this change makes of the key at a place.
fn changed(answers: &mut Answers, at: usize, change: &str, answer: &'static str) {
    let known = &mut answers.0[at];
    known.answer = answer;
    if let Some(account) = ["acme", "poor", "nobody"]
        .into_iter()
        .find(|account| change.contains(&format!("account = '{account}'")))
    {
        known.account = account.to_owned();
    }
}

/// G1: versions on the same page, which no index knows of, and versions on others.
#[test]
fn updates_on_the_same_page_and_on_others_count_at_once() {
    let cluster = cluster();
    let mut admin = cluster.client();
    run(&mut admin, "ALTER TABLE vpk.keys SET (fillfactor = 40)");
    let mut answers = Answers::of_every_kind(&mut admin, 4);
    let mut sessions = [cluster.client(), cluster.client()];
    sessions.iter_mut().for_each(|session| answers.remember(session));
    let at = answers.first(VALID);
    let id = answers.0[at].key.id.clone();
    for (kind, small) in [(SMALL, true), (LARGE, false)] {
        let (mut stayed, mut moved) = (0, 0);
        for (number, (change, answer)) in CHANGES.into_iter().enumerate() {
            if !small {
                // No room is left on the pages.
                run(&mut admin, "ALTER TABLE vpk.keys RESET (fillfactor)");
                let filler = "INSERT INTO vpk.keys
                         (id, key_hash, account, environment, name, created_at)
                       SELECT gen_random_uuid(), sha256(random()::text::bytea), '', 'live', '', now()
                         FROM generate_series(1, 60)";
                run(&mut admin, filler);
            }
            run(&mut admin, "BEGIN");
            let (before, hot_before) = place(&mut admin, &answers.0[at]);
            let sql = format!("UPDATE vpk.keys SET {change}, {kind} WHERE id = '{id}'");
            run(&mut admin, &sql);
            let (after, hot) = place(&mut admin, &answers.0[at]);
            stayed += i32::from(hot > hot_before);
            moved += i32::from(before != after);
            // Uncommitted, and committed.
            answers.check(&mut sessions[0], &format!("{change} in progress"));
            changed(&mut answers, at, change, answer);
            answers.check(&mut admin, &format!("{change} of its own"));
            run(&mut admin, "COMMIT");
            // The second session has not asked since, every other time.
            for session in sessions.iter_mut().take(1 + number % 2) {
                answers.check(session, &format!("{change}, {kind}"));
            }
            if number % 3 == 2 {
                run(&mut admin, "VACUUM vpk.keys");
            }
        }
        if small {
            assert!(stayed > 3, "{stayed} versions that no index knows of");
        } else {
            assert!(moved > 1, "{moved} versions on other pages");
        }
    }
    sessions.iter_mut().for_each(|session| answers.check(session, "at the end"));
    assert_healthy(&cluster);
}

/// G1: hundreds of versions of one row, with old ones cleared from the page as they come.
#[test]
fn updates_count_while_old_versions_are_pruned() {
    let cluster = cluster();
    let mut admin = cluster.client();
    run(&mut admin, "ALTER TABLE vpk.keys SET (fillfactor = 40)");
    let (key, neighbour) = (create(&mut admin, "changed"), create(&mut admin, "neighbour"));
    let (mut session, mut seldom) = (cluster.client(), cluster.client());
    for round in 0..200 {
        let (call, answer) =
            if round % 2 == 0 { ("vpk_disable", DISABLED) } else { ("vpk_enable", VALID) };
        let sql = format!("SELECT {call}($1::text::uuid)::text");
        value(&mut admin, &sql, &[&key.id]);
        assert_eq!(verify(&mut session, &key.token), answer, "{round}");
        if round % 7 == 0 {
            assert_eq!(verify(&mut seldom, &key.token), answer, "{round}");
            // Its versions take their TIDs.
            let sql = "SELECT vpk_update($1::text::uuid, name => $2)::text";
            value(&mut admin, sql, &[&neighbour.id, &format!("name {round}")]);
            assert_eq!(verify(&mut session, &neighbour.token), VALID, "{round}");
        }
    }
    let blocks = "SELECT (pg_relation_size('vpk.keys') / 8192)::text";
    let blocks: i64 = value(&mut admin, blocks, &[]).parse().expect("a number");
    assert!(blocks < 5, "old versions were cleared away: {blocks} blocks");
    assert_healthy(&cluster);
}

/// G1: a change in another session's transaction counts when it is committed, and never when it is
/// rolled back, also where others hold locks on the row.
#[test]
fn updates_count_from_commit_and_never_after_rollback() {
    let cluster = cluster();
    let (mut admin, mut holder) = (cluster.client(), cluster.client());
    let mut answers = Answers::of_every_kind(&mut admin, 3);
    let mut session = cluster.client();
    answers.remember(&mut session);
    let at = answers.first(VALID);
    let id = answers.0[at].key.id.clone();
    run(&mut admin, "CREATE TABLE aside (LIKE vpk.keys)");
    for lock in ["", "FOR KEY SHARE"] {
        for (change, answer) in CHANGES {
            if !lock.is_empty() {
                let sql = format!("BEGIN; SELECT FROM vpk.keys WHERE id = '{id}' {lock}");
                run(&mut holder, &sql);
                answers.check(&mut session, &format!("{change} {lock}"));
            }
            for end in ["ROLLBACK", "COMMIT"] {
                run(&mut admin, &format!("BEGIN; UPDATE vpk.keys SET {change} WHERE id = '{id}'"));
                answers.check(&mut session, &format!("{change}, before {end} {lock}"));
                run(&mut admin, end);
                if end == "COMMIT" {
                    changed(&mut answers, at, change, answer);
                }
                answers.check(&mut session, &format!("{change}, after {end} {lock}"));
            }
            if !lock.is_empty() {
                run(&mut holder, "COMMIT");
            }
            answers.check(&mut session, &format!("{change}, without {lock}"));
        }
    }
    for lock in ["FOR UPDATE", "FOR SHARE", "FOR NO KEY UPDATE"] {
        run(&mut holder, &format!("BEGIN; SELECT FROM vpk.keys {lock}"));
        answers.check(&mut session, lock);
        run(&mut holder, "ROLLBACK");
        answers.check(&mut session, lock);
    }
    // Deleted, and deleted and made again at once.
    let delete = format!("DELETE FROM vpk.keys WHERE id = '{id}'");
    let again = format!(
        "INSERT INTO aside SELECT * FROM vpk.keys WHERE id = '{id}'; {delete};
         INSERT INTO vpk.keys SELECT * FROM aside; TRUNCATE aside"
    );
    for (change, answer) in [(&again, VALID), (&delete, INVALID)] {
        for end in ["ROLLBACK", "COMMIT"] {
            run(&mut admin, &format!("BEGIN; {change}"));
            answers.check(&mut session, &format!("before {end} of {change}"));
            run(&mut admin, end);
            if end == "COMMIT" {
                answers.0[at].answer = answer;
            }
            answers.check(&mut session, &format!("after {end} of {change}"));
        }
    }
    assert_healthy(&cluster);
}

/// G1: a row is a key's as long as it has that key's hash.
#[test]
fn a_row_answers_only_for_the_hash_it_has() {
    let cluster = cluster();
    let mut admin = cluster.client();
    let mut answers = Answers::of_every_kind(&mut admin, 2);
    let mut session = cluster.client();
    answers.remember(&mut session);
    let one = answers.first(VALID);
    let nobody = answers.0.iter().position(|known| known.key.id.is_empty()).expect("nobody's");
    for _ in 0..4 {
        let (from, to) = if answers.0[one].answer == VALID { (one, nobody) } else { (nobody, one) };
        let sql = "UPDATE vpk.keys SET key_hash = sha256($1::text::bytea)
                    WHERE key_hash = sha256($2::text::bytea)";
        let tokens = [&answers.0[to].key.token, &answers.0[from].key.token];
        assert_eq!(admin.execute(sql, &[tokens[0], tokens[1]]).expect("a change"), 1);
        let (mut gone, mut there) = (answers.0[from].clone(), answers.0[to].clone());
        there.key.id = std::mem::take(&mut gone.key.id);
        (there.name, there.account) = (gone.name.clone(), gone.account.clone());
        (there.answer, gone.answer) = (VALID, INVALID);
        (answers.0[from], answers.0[to]) = (gone, there);
        answers.check(&mut session, "another hash");
    }
    assert_healthy(&cluster);
}

/// G2: the whole answer shows the values of the key's row, however long they are: in the page, in
/// the page and compressed, or out of line.
#[test]
fn authenticate_returns_the_row_however_long_its_values_are() {
    let cluster = cluster();
    let (mut admin, mut session) = (cluster.client(), cluster.client());
    let key = create(&mut admin, "told");
    let told = "SELECT (to_jsonb(a) - 'request_id')::text
                  FROM generate_series(1, 3), vpk_authenticate('Bearer ' || $1) AS a";
    let random = "(SELECT string_agg(md5(random()::text), '') FROM generate_series(1, 300))";
    for round in 0..3 {
        for (metadata, scopes) in [
            ("'{}'".to_owned(), "'{}'".to_owned()),
            ("jsonb_build_object('x', repeat('long ', 5000))".to_owned(), "'{a}'".to_owned()),
            (format!("jsonb_build_object('x', {random})"), "'{b}'".to_owned()),
            ("'{\"y\": 1}'".to_owned(), format!("ARRAY[repeat('c', 3000), {random}]")),
            (format!("jsonb_build_object('x', {random})"), format!("ARRAY[{random}]")),
        ] {
            let sql = format!(
                "UPDATE vpk.keys SET metadata = {metadata}, scopes = {scopes},
                        expires_at = clock_timestamp() + interval '1 hour'"
            );
            run(&mut admin, &sql);
            if round == 1 {
                run(&mut admin, "VACUUM vpk.keys");
            }
            let sql = "SELECT jsonb_build_object('status', 'VALID', 'http_status', 200,
                         'key_id', id, 'key_name', name, 'account', account, 'plan', 'Pro',
                         'environment', environment, 'scopes', scopes, 'metadata', metadata,
                         'expires_at', expires_at, 'headers', '{}'::jsonb, 'error', NULL,
                         'limits', NULL)::text
                         FROM vpk.keys";
            let expected = value(&mut admin, sql, &[]);
            for _ in 0..3 {
                for row in session.query(told, &[&key.token]).expect("answers") {
                    let found: String = row.get(0);
                    let differs = found.bytes().zip(expected.bytes()).position(|(a, b)| a != b);
                    assert_eq!((found.len(), differs), (expected.len(), None), "{metadata}");
                }
            }
            if round == 2 {
                run(&mut admin, "VACUUM FULL vpk.keys");
            }
        }
    }
    assert_healthy(&cluster);
}
