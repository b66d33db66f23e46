//! G3: verification writes nothing.

use crate::support::keys::{
    checksum, create, create_expired, create_for, revoke, set_plan, verify,
};
use crate::support::{Client, Cluster, buffers, report, sqlstate, value};

/// The worker writes when it flushes uses; other tests are about that.
const QUIET: (&str, &str) = ("vibepeak_keys.usage_flush_interval", "1h");

/// Fills a table with what 10,000 requests present: every answer is among them.
fn fill(client: &mut Client) {
    set_plan(client, "acme", "Free");
    let [valid, revoked, disabled, limited] =
        ["valid", "revoked", "disabled", "limited"].map(|name| create(client, name));
    let free = create_for(client, "free", "acme");
    let brief = create_expired(client, "brief").token;
    revoke(client, &revoked);
    value(client, "SELECT vpk_disable($1::text::uuid)::text", &[&disabled.id]);
    let sql = "SELECT vpk_update($1::text::uuid, allowed_ips => '{192.0.2.0/24}')::text";
    value(client, sql, &[&limited.id]);
    let body = b"vpk_live_nobodyHasThisKeyNobodyHas0";
    let unknown = [body.as_slice(), &checksum(body)].concat();
    let unknown = String::from_utf8(unknown).expect("ASCII");

    client.batch_execute("CREATE TABLE presented (token text)").expect("a table");
    let sql = "INSERT INTO presented SELECT unnest($1::text[]) FROM generate_series(1, 1112)";
    let ids = [valid, revoked, disabled, limited, free].map(|key| key.token);
    let mut tokens: Vec<Option<&str>> = ids.iter().map(|token| Some(token.as_str())).collect();
    tokens.extend([Some(brief.as_str()), Some(&unknown), Some("malformed"), None]);
    assert!(client.execute(sql, &[&tokens]).expect("rows") >= 10_000);
}

/// Verifies them all, in every way; and every answer is among the answers.
fn verify_all(client: &mut Client) {
    let sql = "SELECT string_agg(DISTINCT concat_ws(' ', vpk_verify(token), a.status,
                                                    vpk_verify_hash(sha256(token::bytea))), ', ')
                 FROM presented, vpk_authenticate('Bearer ' || token, scope => 's') AS a";
    let answers = value(client, sql, &[]);
    for status in [
        "VALID INSUFFICIENT_SCOPE VALID",
        "API_KEY_REVOKED API_KEY_REVOKED",
        "API_KEY_DISABLED API_KEY_DISABLED",
        "API_KEY_EXPIRED API_KEY_EXPIRED",
        "IP_NOT_ALLOWED IP_NOT_ALLOWED",
        "PLAN_REQUIRED PLAN_REQUIRED",
        "INVALID_API_KEY INVALID_API_KEY",
        "MISSING_API_KEY MISSING_API_KEY",
    ] {
        assert!(answers.contains(status), "{status} is not in {answers}");
    }
}

/// G3: no transaction id, no row, no lock but those of a read.
#[test]
fn verifying_takes_no_transaction_id_writes_no_row_and_keeps_no_lock() {
    let cluster = Cluster::start(&[("autovacuum", "off"), QUIET]);
    fill(&mut cluster.client());
    let mut client = cluster.client();
    let next_id = "SELECT pg_snapshot_xmax(pg_current_snapshot())::text";
    let before = value(&mut client, next_id, &[]);
    for level in ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"] {
        client.batch_execute(&format!("BEGIN ISOLATION LEVEL {level}")).expect("a transaction");
        verify_all(&mut client);
        for (what, sql) in [
            ("a transaction id", "SELECT pg_current_xact_id_if_assigned()::text"),
            (
                "rows written",
                "SELECT string_agg(relname, ' ') FROM pg_stat_xact_all_tables
                  WHERE n_tup_ins + n_tup_upd + n_tup_del > 0",
            ),
            (
                "locks on the extension's tables",
                "SELECT string_agg(concat_ws(' ', l.locktype, l.mode, c.relname), ', ')
                   FROM pg_locks AS l LEFT JOIN pg_class AS c ON c.oid = l.relation
                  WHERE pid = pg_backend_pid() AND l.locktype <> 'virtualxid'
                    AND (l.mode NOT IN ('AccessShareLock', 'SIReadLock')
                         OR c.relnamespace = 'vpk'::regnamespace)",
            ),
        ] {
            assert_eq!(value(&mut client, sql, &[]), "", "{level}: {what}");
        }
        client.batch_execute("COMMIT").expect("its end");
    }
    assert_eq!(value(&mut client, next_id, &[]), before, "no transaction id was taken");
}

/// G3: no WAL, also not where checksums make the server log changes of hints. (Now and then the
/// server writes a record of its own; so one quiet run of a few is enough.)
#[test]
fn verifying_writes_no_wal() {
    let cluster =
        Cluster::with_checksums(&[("autovacuum", "off"), ("checkpoint_timeout", "1d"), QUIET]);
    let mut client = cluster.client();
    fill(&mut client);
    client.batch_execute("VACUUM (FREEZE, ANALYZE)").expect("a vacuum");
    let position = "SELECT pg_current_wal_insert_lsn()::text";
    let mut written = Vec::new();
    for _ in 0..5 {
        client.batch_execute("CHECKPOINT").expect("a checkpoint");
        let before = value(&mut client, position, &[]);
        verify_all(&mut client);
        let after = value(&mut client, position, &[]);
        if before == after {
            return;
        }
        written.push(format!("{before} to {after}"));
    }
    panic!("WAL was written each time: {written:?}");
}

/// No WAL either for a locked table, whose file may be about to be replaced: a row whose TID is
/// cached was changed since, and its page has no hint bit yet for the commit of that change.
#[test]
fn verifying_writes_no_wal_while_the_table_is_locked() {
    let cluster =
        Cluster::with_checksums(&[("autovacuum", "off"), ("checkpoint_timeout", "1d"), QUIET]);
    let (mut client, mut admin) = (cluster.client(), cluster.client());
    let key = create(&mut client, "changed");
    client.batch_execute("SET lock_timeout = '50ms'").expect("a setting");
    let position = "SELECT pg_current_wal_insert_lsn()::text";
    let mut written = Vec::new();
    for _ in 0..5 {
        assert_eq!(verify(&mut client, &key.token), "VALID");
        for sql in ["UPDATE vpk.keys SET name = name", "CHECKPOINT", "BEGIN", "LOCK vpk.keys"] {
            admin.batch_execute(sql).unwrap_or_else(|error| panic!("{sql}: {}", report(&error)));
        }
        let before = value(&mut admin, position, &[]);
        let waited = client.query_one("SELECT vpk_verify($1)::text", &[&key.token]);
        assert_eq!(sqlstate("the changed row is looked for", waited), "55P03");
        let after = value(&mut admin, position, &[]);
        admin.batch_execute("ROLLBACK").expect("its end");
        if before == after {
            return;
        }
        written.push(format!("{before} to {after}"));
    }
    panic!("WAL was written each time: {written:?}");
}

/// A malformed token is refused without touching a table (docs/security.md says so); the same
/// measure shows the buffers that a well-formed key touches.
#[test]
fn a_malformed_token_touches_no_buffer() {
    let cluster = Cluster::start(&[]);
    let mut client = cluster.client();
    let key = create(&mut client, "touches buffers");
    client.batch_execute("SET vibepeak_keys.backend_cache = 0").expect("the setting");
    let mut mistyped = key.token.clone().into_bytes();
    mistyped[20] = if mistyped[20] == b'x' { b'y' } else { b'x' };
    let mistyped = String::from_utf8(mistyped).expect("ASCII");
    for (token, touches) in [
        (key.token.as_str(), true),
        (&mistyped, false),
        ("", false),
        ("vpk_live_aBcDeFgHiJkLmNoPqRsTuVwXyZ123456", false),
        (&"x".repeat(10_000), false),
    ] {
        for call in
            [format!("vpk_verify('{token}')"), format!("vpk_authenticate('Bearer {token}')")]
        {
            let sql = format!("SELECT {call} FROM generate_series(1, 100)");
            // The first call caches what it reads of the catalog.
            buffers(&mut client, &sql);
            assert_eq!(buffers(&mut client, &sql) > 0, touches, "{token:.60}");
        }
    }
}
