//! G9 and G3: verification on hot standbys and in read-only transactions.

use crate::support::keys::{Key, authenticate, create, create_for, revoke, set_plan, verify};
use crate::support::{Client, Cluster, caught_up, sqlstate, value};

/// Everything that writes. The key's id is $1, its token $2, a lease of it $3.
const WRITES: &[&str] = &[
    "SELECT FROM vpk_create('x')",
    "SELECT vpk_revoke($1)",
    "SELECT vpk_revoke_token($2)",
    "SELECT vpk_revoke_account('default')",
    "SELECT FROM vpk_rotate($1)",
    "SELECT FROM vpk_update($1, name => 'x')",
    "SELECT vpk_disable($1)",
    "SELECT vpk_enable($1)",
    "SELECT vpk_delete_account('acme')",
    "SELECT vpk_purge(now())",
    "SELECT vpk_set_plan('acme', 'Pro')",
    "SELECT vpk_add_uses($1, now(), 1)",
    "SELECT FROM vpk_task_start($2)",
    "SELECT vpk_task_extend($3, '1 min')",
    "SELECT vpk_task_finish($3)",
    "SELECT vpk_grant_verifier('pg_monitor')",
    "SELECT vpk_grant_admin('pg_monitor')",
];

/// What has to work where nothing can be written.
fn reads_work(client: &mut Client, valid: &Key, free: &Key, revoked: &Key) {
    for (key, expected) in [(valid, "VALID"), (free, "PLAN_REQUIRED"), (revoked, "API_KEY_REVOKED")]
    {
        assert_eq!(verify(client, &key.token), expected);
        assert_eq!(authenticate(client, &key.token), expected);
        let sql = "SELECT vpk_verify_hash(sha256($1::text::bytea))::text";
        assert_eq!(value(client, sql, &[&key.token]), expected);
    }
    assert_eq!(verify(client, "vpk_live_nonsense"), "INVALID_API_KEY");
    let listed = "SELECT state FROM vpk_list(id => $1::text::uuid)";
    assert_eq!(value(client, listed, &[&revoked.id]), "revoked");
    assert_eq!(value(client, "SELECT count(*)::text FROM vpk_list()", &[]), "3");
    // A name that may be stored in another spelling is looked for.
    assert_eq!(value(client, "SELECT count(*)::text FROM vpk_list(account => 'é')", &[]), "0");
    let error = "SELECT vpk_error('PLAN_REQUIRED', account => 'acme')
                 #>> '{error,details,current_plan}'";
    assert_eq!(value(client, error, &[]), "Free");
    let codes = "SELECT count(*)::text FROM vpk.status_codes";
    assert_eq!(value(client, codes, &[]), "12");
}

/// What has to be refused there, as the server refuses it.
fn writes_are_refused(client: &mut Client, key: &Key) {
    let lease = value(client, "SELECT lease::text FROM vpk.task_leases", &[]);
    for sql in WRITES {
        let sql = sql.replace("$1", &format!("'{}'", key.id));
        let sql = sql.replace("$2", &format!("'{}'", key.token));
        let sql = sql.replace("$3", &format!("'{lease}'"));
        client.batch_execute("SAVEPOINT s").expect("a savepoint");
        assert_eq!(sqlstate(&sql, client.batch_execute(&sql)), "25006", "{sql}");
        client.batch_execute("ROLLBACK TO s").expect("the savepoint");
    }
}

fn three_keys(client: &mut Client) -> [Key; 3] {
    set_plan(client, "acme", "Free");
    let keys =
        [create(client, "valid"), create_for(client, "free", "acme"), create(client, "revoked")];
    revoke(client, &keys[2]);
    let sql = "SELECT status::text FROM vpk_task_start($1)";
    assert_eq!(value(client, sql, &[&keys[0].token]), "VALID");
    keys
}

/// G3: in a READ ONLY transaction of any isolation level, also one that may be deferred.
#[test]
fn keys_are_verified_in_read_only_transactions() {
    let cluster = Cluster::start(&[]);
    let mut client = cluster.client();
    let [valid, free, revoked] = three_keys(&mut client);
    for level in ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE", "SERIALIZABLE DEFERRABLE"] {
        let begin = format!("BEGIN ISOLATION LEVEL {level}, READ ONLY");
        client.batch_execute(&begin).expect("a transaction");
        reads_work(&mut client, &valid, &free, &revoked);
        writes_are_refused(&mut client, &valid);
        client.batch_execute("COMMIT").expect("its end");
    }
}

/// G9: on a hot standby unchanged; what the primary does counts there when it is replayed, also in
/// a transaction of the standby that is older; and what writes is refused.
#[test]
fn keys_are_verified_on_a_hot_standby() {
    let cluster = Cluster::start(&[]);
    let mut primary = cluster.client();
    let [valid, free, revoked] = three_keys(&mut primary);
    let other = cluster.standby();
    let mut standby = other.client();
    caught_up(&mut primary, &mut standby);
    assert_eq!(value(&mut standby, "SELECT pg_is_in_recovery()::text", &[]), "true");

    reads_work(&mut standby, &valid, &free, &revoked);
    standby.batch_execute("BEGIN").expect("a transaction");
    writes_are_refused(&mut standby, &valid);
    standby.batch_execute("COMMIT").expect("its end");

    standby.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ").expect("a transaction");
    reads_work(&mut standby, &valid, &free, &revoked);
    revoke(&mut primary, &valid);
    set_plan(&mut primary, "acme", "Plus");
    let new = create(&mut primary, "new");
    caught_up(&mut primary, &mut standby);
    assert_eq!(verify(&mut standby, &valid.token), "API_KEY_REVOKED");
    assert_eq!(verify(&mut standby, &free.token), "VALID");
    assert_eq!(verify(&mut standby, &new.token), "VALID");
    standby.batch_execute("COMMIT").expect("its end");

    // After its promotion it continues as the primary.
    drop(cluster);
    other.promote();
    assert_eq!(verify(&mut standby, &new.token), "VALID");
    revoke(&mut standby, &new);
    assert_eq!(verify(&mut standby, &new.token), "API_KEY_REVOKED");
    create(&mut standby, "of the new primary");
}
