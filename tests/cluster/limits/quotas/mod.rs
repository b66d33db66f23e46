//! Quotas: how many calls pass, what is counted, and what becomes of it.

mod charges;
mod exact;
mod flushes;
mod handover;
mod history;
mod periods;
mod restarts;

use crate::support::keys::{Key, create_for, set_plan, verify};
use crate::support::{Client, GenericClient, value, wait_until};

/// A key of an account on the plan Plus, which has these quotas.
fn key_with(client: &mut Client, quotas: &str) -> Key {
    set_quotas(client, quotas);
    set_plan(client, "acme", "Plus");
    create_for(client, "limited", "acme")
}

/// Sets the quotas of the plan Plus.
fn set_quotas(client: &mut impl GenericClient, quotas: &str) {
    let sql = "UPDATE vpk.plans SET quotas = $1 WHERE plan = 'Plus'";
    assert_eq!(client.execute(sql, &[&quotas]).expect("an update"), 1);
}

/// What the table has of the account's quota of calls.
fn in_table(client: &mut impl GenericClient) -> i64 {
    let sql = "SELECT coalesce(sum(used), 0)::bigint FROM vpk.quota_usage
                WHERE subject = 'acme' AND kind = 'account' AND meter = 'calls'";
    client.query_one(sql, &[]).expect("what is used").get(0)
}

/// Waits until the table has so much of it.
fn wait_for_used(client: &mut impl GenericClient, number: i64) {
    let mut found = -1;
    wait_until(&format!("the table has {number}"), || {
        found = in_table(client);
        assert!(found <= number, "{found}, and not {number}");
        found == number
    });
}

/// The quotas of an account, as `meter period amount+granted used remaining`.
fn shown(client: &mut impl GenericClient, arguments: &str) -> String {
    let sql = format!(
        "SELECT coalesce(string_agg(format('%s/%s %s %s+%s %s %s', meter, period, applies_to,
                                           amount, granted, used, remaining), ', '), '')
           FROM vpk_quota({arguments})"
    );
    value(client, &sql, &[])
}

/// How many of so many calls pass. All others are told that the quota is used up.
fn passing(client: &mut Client, key: &Key, calls: usize) -> usize {
    let answers = (0..calls).map(|_| verify(client, &key.token));
    let passes = |answer: String| match answer.as_str() {
        "VALID" => true,
        "QUOTA_EXCEEDED" => false,
        other => panic!("{other}"),
    };
    answers.map(passes).filter(|passes| *passes).count()
}
