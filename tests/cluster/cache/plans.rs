//! G1 for accounts and plans: they are right at the very next verification when something changed,
//! in any session and however it was changed.

use crate::cache::cluster;
use crate::support::keys::{Key, create_for, set_plan};
use crate::support::known::{Answers, PLAN, VALID, assert_healthy, run};
use crate::support::{Client, value};

/// The plan that a session reports for each key, or `-` where the plan has no access.
fn plans(session: &mut Client, keys: &[Key]) -> String {
    let mut told = Vec::new();
    for key in keys {
        let sql = "SELECT vpk_verify($1)::text";
        let first = value(session, sql, &[&key.token]);
        let sql = "SELECT CASE status WHEN 'VALID' THEN plan ELSE status::text END
                     FROM vpk_authenticate('Bearer ' || $1)";
        let plan = value(session, sql, &[&key.token]);
        assert_eq!(first == PLAN, plan == PLAN, "{first} {plan}");
        told.push(if plan == PLAN { "-".to_owned() } else { plan });
    }
    told.join(" ")
}

/// G1: every way to change a plan or an account, or both.
#[test]
fn every_change_of_a_plan_or_an_account_counts_at_once() {
    let cluster = cluster();
    let mut admin = cluster.client();
    for (account, plan) in [("acme", "Pro"), ("poor", "Free"), ("new", "Plus")] {
        set_plan(&mut admin, account, plan);
    }
    let keys = ["acme", "poor", "new"].map(|account| create_for(&mut admin, "key", account));
    let mut sessions: Vec<Client> = (0..3).map(|_| cluster.client()).collect();
    run(&mut sessions[1], "BEGIN ISOLATION LEVEL REPEATABLE READ");
    run(&mut sessions[2], "BEGIN ISOLATION LEVEL SERIALIZABLE");
    for session in &mut sessions {
        for _ in 0..3 {
            assert_eq!(plans(session, &keys), "Pro - Plus");
        }
    }
    for (change, expected) in [
        ("SELECT vpk_set_plan('poor', 'Pro')", "Pro Pro Plus"),
        ("SELECT vpk_set_plan('acme', 'Starter')", "- Pro Plus"),
        ("UPDATE vpk.accounts SET plan = 'Plus' WHERE account = 'acme'", "Plus Pro Plus"),
        ("UPDATE vpk.plans SET api_access = false WHERE plan = 'Plus'", "- Pro -"),
        ("UPDATE vpk.plans SET concurrent_tasks = 7", "- Pro -"),
        ("UPDATE vpk.plans SET api_access = NOT api_access", "Plus - Plus"),
        ("UPDATE vpk.plans SET api_access = NOT api_access", "- Pro -"),
        ("UPDATE vpk.plans SET api_access = true WHERE plan = 'Plus'", "Plus Pro Plus"),
        ("UPDATE vpk.plans SET plan = 'More' WHERE plan = 'Plus'", "More Pro More"),
        // The names of two plans are exchanged, and those of their accounts with them.
        (
            "UPDATE vpk.plans SET plan = 'x' WHERE plan = 'More';
             UPDATE vpk.plans SET plan = 'More' WHERE plan = 'Free';
             UPDATE vpk.plans SET plan = 'Free' WHERE plan = 'x'",
            "Free Pro Free",
        ),
        // The same, and the accounts stay with the names.
        (
            "SET session_replication_role = replica;
             UPDATE vpk.plans SET plan = 'x' WHERE plan = 'More';
             UPDATE vpk.plans SET plan = 'More' WHERE plan = 'Free';
             UPDATE vpk.plans SET plan = 'Free' WHERE plan = 'x';
             RESET session_replication_role",
            "- Pro -",
        ),
        // Accounts by name are exchanged, past the trigger that refuses it.
        (
            "SET session_replication_role = replica;
             UPDATE vpk.accounts SET account = 'x' WHERE account = 'acme';
             UPDATE vpk.accounts SET account = 'acme' WHERE account = 'poor';
             UPDATE vpk.accounts SET account = 'poor' WHERE account = 'x';
             RESET session_replication_role",
            "Pro - -",
        ),
        ("DELETE FROM vpk.accounts WHERE account = 'acme'", "- - -"),
        ("INSERT INTO vpk.accounts (account, plan) VALUES ('acme', 'Starter')", "- - -"),
        ("UPDATE vpk.accounts SET plan = 'Pro'", "Pro Pro Pro"),
        (
            "ALTER TABLE vpk.plans DISABLE TRIGGER ALL; DELETE FROM vpk.plans WHERE plan = 'Pro'",
            "- - -",
        ),
        (
            "INSERT INTO vpk.plans (plan, api_access, rank, pristine)
                    VALUES ('Pro', true, 1, false), ('Team', true, 2, false)",
            "Pro Pro Pro",
        ),
        ("UPDATE vpk.plans SET plan = 'Pro Max' WHERE plan = 'Pro'", "- - -"),
        ("UPDATE vpk.accounts SET plan = 'Pro Max' WHERE account <> 'poor'", "Pro Max - Pro Max"),
        ("ALTER TABLE vpk.plans ENABLE TRIGGER ALL", "Pro Max - Pro Max"),
        ("UPDATE vpk.plans SET plan = 'Pro' WHERE plan = 'Pro Max'", "Pro Pro Pro"),
        ("UPDATE vpk.keys SET account = 'nobody' WHERE account = 'acme'", "- Pro Pro"),
        ("SELECT vpk_set_plan('nobody', 'Team')", "Team Pro Pro"),
        ("UPDATE vpk.keys SET account = 'acme' WHERE account = 'nobody'", "Pro Pro Pro"),
        ("UPDATE vpk.accounts SET plan = 'Team' WHERE account LIKE '%e%'", "Team Pro Team"),
        (
            "CREATE TABLE kept AS TABLE vpk.accounts; TRUNCATE vpk.accounts;
             INSERT INTO vpk.accounts SELECT * FROM kept ORDER BY account DESC",
            "Team Pro Team",
        ),
        ("TRUNCATE vpk.accounts", "- - -"),
        ("INSERT INTO vpk.accounts SELECT * FROM kept ORDER BY account", "Team Pro Team"),
    ] {
        run(&mut admin, change);
        for session in &mut sessions {
            assert_eq!(plans(session, &keys), expected, "{change}");
        }
    }
    assert_healthy(&cluster);
}

/// G1: the row of an account or a plan takes the TID of another one.
#[test]
fn rows_of_accounts_and_plans_may_change_places() {
    let cluster = cluster();
    let mut admin = cluster.client();
    // One name is the beginning of another, one is long and some are not ASCII.
    let long = "l\u{f6}ng-".repeat(42);
    let names = ["acme", "acm", "acme2", "acme-", "ACME", long.as_str(), "\u{e9}"];
    for (number, name) in names.iter().enumerate() {
        let sql = "INSERT INTO vpk.plans (plan, api_access) VALUES ($1, $2)";
        admin.execute(sql, &[name, &(number % 2 == 0)]).expect("a plan");
        set_plan(&mut admin, name, name);
    }
    let keys: Vec<Key> = names.iter().map(|name| create_for(&mut admin, "key", name)).collect();
    let told = |number: usize| if number.is_multiple_of(2) { names[number] } else { "-" };
    let expected = (0..names.len()).map(told).collect::<Vec<_>>().join(" ");
    let mut session = cluster.client();
    // What triggers would refuse, or do beside it, is not done here.
    run(&mut admin, "SET session_replication_role = replica");
    run(&mut admin, "VACUUM FULL vpk.accounts, vpk.plans");
    for _ in 0..3 {
        assert_eq!(plans(&mut session, &keys), expected);
    }
    for (table, column) in [("vpk.accounts", "account"), ("vpk.plans", "plan")] {
        let places = format!("SELECT string_agg(ctid || {column}, ' ' ORDER BY ctid) FROM {table}");
        run(&mut admin, &format!("CREATE TABLE kept AS TABLE {table}"));
        for round in 0..6 {
            let before = value(&mut admin, &places, &[]);
            run(&mut admin, &format!("DELETE FROM {table}"));
            if round % 2 == 0 {
                let none = vec!["-"; names.len()].join(" ");
                assert_eq!(plans(&mut session, &keys), none, "no row of {table}");
            }
            run(&mut admin, &format!("VACUUM (TRUNCATE {}) {table}", round % 3 == 0));
            let order = format!("hashtextextended({column}, {round})");
            run(&mut admin, &format!("INSERT INTO {table} SELECT * FROM kept ORDER BY {order}"));
            assert_ne!(value(&mut admin, &places, &[]), before, "other rows at the places");
            assert_eq!(plans(&mut session, &keys), expected, "{table}, {round}");
        }
        // One alone is deleted, and another one takes its TID.
        let sql = format!("DELETE FROM {table} WHERE {column} = 'acme' RETURNING ctid::text");
        let place = value(&mut admin, &sql, &[]);
        run(&mut admin, &format!("VACUUM {table}"));
        let sql = format!(
            "INSERT INTO {table} SELECT (jsonb_populate_record(k, '{{\"{column}\": \"acmes\"}}')).*
               FROM kept AS k WHERE {column} = 'acme' RETURNING ctid::text"
        );
        assert_eq!(value(&mut admin, &sql, &[]), place, "the same place");
        let (_, others) = expected.split_once(' ').expect("several keys");
        assert_eq!(plans(&mut session, &keys), format!("- {others}"), "{table}: another name");
        run(&mut admin, &format!("UPDATE {table} SET {column} = 'acme' WHERE {column} = 'acmes'"));
        assert_eq!(plans(&mut session, &keys), expected, "{table}: its name again");
        run(&mut admin, "DROP TABLE kept");
    }
    assert_healthy(&cluster);
}

/// G1: uncommitted changes of an account and a plan count for no other session, those that are
/// rolled back for none, and locks on their rows delay no verification.
#[test]
fn uncommitted_changes_of_plans_count_for_no_other_session() {
    let cluster = cluster();
    let (mut admin, mut session) = (cluster.client(), cluster.client());
    let answers = Answers::of_every_kind(&mut admin, 2);
    answers.remember(&mut session);
    run(&mut session, "SET lock_timeout = '1ms'");
    let closed = answers.when(|known| if known.answer == VALID { PLAN } else { known.answer });
    for (change, back) in [
        ("UPDATE vpk.accounts SET plan = 'Free' WHERE account = 'acme'", "Pro"),
        ("UPDATE vpk.plans SET api_access = false WHERE plan = 'Pro'", ""),
        ("SELECT vpk_set_plan('acme', 'Starter')", "Pro"),
    ] {
        for end in ["ROLLBACK", "COMMIT"] {
            run(&mut admin, &format!("BEGIN; {change}"));
            answers.check(&mut session, &format!("{change} in progress"));
            closed.check(&mut admin, &format!("{change} of its own"));
            run(&mut admin, end);
            let expected = if end == "COMMIT" { &closed } else { &answers };
            expected.check(&mut session, &format!("{change}, {end}"));
        }
        match back {
            "" => run(&mut admin, "UPDATE vpk.plans SET api_access = true WHERE plan = 'Pro'"),
            plan => set_plan(&mut admin, "acme", plan),
        }
        answers.check(&mut session, "as before");
    }
    for lock in ["FOR UPDATE", "FOR KEY SHARE"] {
        run(&mut admin, &format!("BEGIN; SELECT FROM vpk.accounts {lock}"));
        run(&mut admin, &format!("SELECT FROM vpk.plans {lock}"));
        answers.check(&mut session, lock);
        run(&mut admin, "COMMIT");
    }
    // Hundreds of versions, of which the old ones are pruned.
    for round in 0..150 {
        let (plan, expected) = if round % 2 == 0 { ("Free", PLAN) } else { ("Plus", VALID) };
        run(&mut admin, &format!("UPDATE vpk.accounts SET plan = '{plan}' WHERE account = 'acme'"));
        run(&mut admin, "UPDATE vpk.plans SET rank = rank");
        let token = &answers.0[0].key.token;
        assert_eq!(value(&mut session, "SELECT vpk_verify($1)::text", &[token]), expected);
    }
    answers.check(&mut session, "after all of them");
    assert_healthy(&cluster);
}
