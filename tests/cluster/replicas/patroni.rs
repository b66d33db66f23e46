//! G9, G10 and G4: the extension on the servers of a Patroni cluster, which nobody promotes by
//! hand.

use crate::support::keys::{Key, create, revoke, verify};
use crate::support::patroni::Patroni;
use crate::support::usage::{FLUSH_EVERY_200MS, counter, use_key, wait_for_uses};
use crate::support::{Client, caught_up, value, wait_until};

fn check(client: &mut Client, valid: &[Key], revoked: &[Key]) {
    for (keys, expected) in [(valid, "VALID"), (revoked, "API_KEY_REVOKED")] {
        for key in keys {
            assert_eq!(verify(client, &key.token), expected);
        }
    }
}

/// The leader's machine fails. The standby, which knows each acknowledged key and revocation, leads
/// after a while; its sessions go on, and the uses that it had counted are flushed. The failed one
/// comes back as its standby, and refuses what was revoked meanwhile.
#[test]
fn patroni_fails_over_and_every_acknowledged_key_is_there() {
    let Some(mut patroni) = Patroni::start(FLUSH_EVERY_200MS) else { return };
    let leader = patroni.leader();
    let standby = 1 - leader;
    let (mut admin, mut reader) = (patroni.client(leader), patroni.client(standby));
    admin.batch_execute("CREATE EXTENSION vibepeak_keys").expect("the extension");
    let key = create(&mut admin, "used on the standby");
    let valid: Vec<Key> = (0..20).map(|_| create(&mut admin, "valid")).collect();
    let mut revoked: Vec<Key> = (0..20).map(|_| create(&mut admin, "revoked")).collect();
    caught_up(&mut admin, &mut reader);
    use_key(&mut reader, &key, 50);
    for key in &revoked {
        assert_eq!(verify(&mut reader, &key.token), "VALID");
        revoke(&mut admin, key);
        // In synchronous mode no client waits for the standby: the revocation itself does.
        assert_eq!(verify(&mut reader, &key.token), "API_KEY_REVOKED");
    }

    patroni.fail(leader);
    check(&mut reader, &valid, &revoked);
    // Not before the leader's lock has run out, after 20 seconds.
    wait_until("the standby leads", || patroni.is(standby, "leader"));
    wait_for_uses(&mut reader, &key, 50);
    wait_until("nothing is pending", || counter(&mut reader, "uses_pending") == 0);
    check(&mut reader, &valid, &revoked);
    // There is no standby left to wait for, and Patroni knows.
    let sql = "SELECT current_setting('synchronous_standby_names')";
    wait_until("nothing is waited for", || value(&mut reader, sql, &[]).is_empty());
    let late = create(&mut reader, "of the new leader");
    revoke(&mut reader, &valid[0]);
    revoked.push(valid[0].clone());

    patroni.begin(leader);
    wait_until("the failed one is a standby", || patroni.is(leader, "sync"));
    let mut old = patroni.client(leader);
    caught_up(&mut reader, &mut old);
    assert_eq!(value(&mut old, "SELECT pg_is_in_recovery()::text", &[]), "true");
    check(&mut old, &[&valid[1..], &[late]].concat(), &revoked);
    revoke(&mut reader, &valid[1]);
    assert_eq!(verify(&mut old, &valid[1].token), "API_KEY_REVOKED");
}
