//! G1 and G2 after changes in a random order, with the default size of a session's cache, the
//! smallest, and none: every answer is compared with that of a plain model of the tables.

use crate::cache::cluster;
use crate::support::keys::{checksum, set_plan};
use crate::support::known::{
    Answers, DISABLED, INVALID, PLAN, REVOKED, VALID, assert_healthy, copy_in, copy_out, run,
};
use crate::support::random::Random;
use crate::support::{Client, Cluster, GenericClient, value};

const STEPS: usize = 120;
const ACCOUNTS: [&str; 3] = ["acme", "poor", "moving"];

/// The setting that bounds what a session remembers.
const SETTING: &str = "vibepeak_keys.backend_cache";

/// Its values that are worth a try: none, the least there is, and what it is anyway. One that says
/// nothing where there is no such setting.
fn sizes(cluster: &Cluster) -> Vec<String> {
    let mut admin = cluster.client();
    let sql = "SELECT coalesce((SELECT boot_val FROM pg_settings WHERE name = $1), '')";
    let usual = value(&mut admin, sql, &[&SETTING]);
    if usual.is_empty() {
        return vec![usual];
    }
    let least = (0..20).map(|power| (1 << power).to_string()).find(|size| {
        let set = admin.batch_execute(&format!("ALTER SYSTEM SET {SETTING} = {size}"));
        set.is_ok()
    });
    run(&mut admin, &format!("ALTER SYSTEM RESET {SETTING}"));
    vec!["0".to_owned(), least.expect("a size that is accepted"), usual]
}

/// A server on which that is the size from now on.
fn with_size(cluster: &Cluster, size: &str) {
    if !size.is_empty() {
        cluster.down();
        cluster.set(&[(SETTING, size)]);
        cluster.up();
        assert_eq!(value(&mut cluster.client(), &setting(), &[]), size);
    }
}

fn setting() -> String {
    format!("SELECT setting FROM pg_settings WHERE name = '{SETTING}'")
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    Active,
    Disabled,
    Revoked,
    Gone,
}

/// What is in the tables, as far as it makes a difference.
#[derive(Clone)]
struct Model {
    answers: Answers,
    states: Vec<State>,
    access: [bool; 3],
}

impl Model {
    fn new(client: &mut Client) -> Model {
        for (account, plan) in ACCOUNTS.into_iter().zip(["Pro", "Free", "Plus"]) {
            set_plan(client, account, plan);
        }
        let mut model =
            Model { answers: Answers::default(), states: Vec::new(), access: [true, false, true] };
        for number in 0..30 {
            model.create(client, ACCOUNTS[number % 3]);
        }
        model.judge();
        model
    }

    fn create(&mut self, client: &mut impl GenericClient, account: &str) {
        self.answers.add(client, account);
        self.states.push(State::Active);
    }

    fn judge(&mut self) {
        for (known, state) in self.answers.0.iter_mut().zip(&self.states) {
            let account = ACCOUNTS.iter().position(|account| *account == known.account);
            known.answer = match state {
                State::Gone => INVALID,
                State::Revoked => REVOKED,
                State::Disabled => DISABLED,
                State::Active if self.access[account.expect("an account")] => VALID,
                State::Active => PLAN,
            };
        }
    }

    /// One change of what is in the tables.
    fn change(&mut self, client: &mut impl GenericClient, random: &mut Random) -> &'static str {
        let at = random.below(self.states.len());
        let id = self.answers.0[at].key.id.clone();
        let mut on_key = |sql: &str| {
            run(client, &sql.replace("$1", &format!("'{id}'")));
        };
        let what = match (random.below(12), self.states[at]) {
            (0 | 1, _) => {
                let account = *random.pick(&ACCOUNTS);
                self.create(client, account);
                "create"
            }
            (2, State::Active | State::Disabled) => {
                on_key("SELECT vpk_revoke($1)");
                self.states[at] = State::Revoked;
                "revoke"
            }
            (3, State::Revoked) => {
                on_key("UPDATE vpk.keys SET revoked_at = NULL, disabled_at = NULL WHERE id = $1");
                self.states[at] = State::Active;
                "back from the dead"
            }
            (4 | 3, State::Active) => {
                on_key("SELECT vpk_disable($1)");
                self.states[at] = State::Disabled;
                "disable"
            }
            (4 | 3, State::Disabled) => {
                on_key("SELECT vpk_enable($1)");
                self.states[at] = State::Active;
                "enable"
            }
            (5 | 6, State::Gone) => {
                on_key("INSERT INTO vpk.keys SELECT * FROM aside WHERE id = $1");
                on_key("DELETE FROM aside WHERE id = $1");
                self.states[at] = State::Active;
                "insert"
            }
            (5 | 6, _) => {
                on_key(
                    "INSERT INTO aside SELECT * FROM vpk.keys WHERE id = $1;
                     UPDATE aside SET revoked_at = NULL, disabled_at = NULL;
                     DELETE FROM vpk.keys WHERE id = $1",
                );
                self.states[at] = State::Gone;
                "delete"
            }
            (7, state) if state != State::Gone => {
                let account = *random.pick(&ACCOUNTS);
                on_key(&format!("UPDATE vpk.keys SET account = '{account}' WHERE id = $1"));
                self.answers.0[at].account = account.to_owned();
                "another account"
            }
            (8, _) => {
                let (account, access) = (random.below(3), random.below(2) == 1);
                self.access[account] = access;
                let plan = if access { ["Pro", "Plus"] } else { ["Free", "Starter"] };
                set_plan(client, ACCOUNTS[account], plan[random.below(2)]);
                "another plan"
            }
            (9, _) => {
                run(client, "UPDATE vpk.plans SET api_access = NOT api_access");
                run(client, "UPDATE vpk.plans SET rank = rank");
                run(client, "UPDATE vpk.plans SET api_access = NOT api_access");
                "plans to and fro"
            }
            (10, _) => {
                on_key(
                    "UPDATE vpk.keys SET name = name, metadata = jsonb_build_object('x', $1::text)",
                );
                "every row"
            }
            _ => {
                let sql = "UPDATE vpk.keys SET metadata =
                             (SELECT jsonb_build_object('x', string_agg(md5(random()::text), ''))
                                FROM generate_series(1, 45))
                            WHERE random() < 0.1";
                run(client, sql);
                "large rows"
            }
        };
        self.judge();
        what
    }
}

/// One thing that leaves what is in the tables as it is, and may move all of it.
fn move_rows(admin: &mut Client, random: &mut Random) -> String {
    let table = ["vpk.keys", "vpk.keys", "vpk.accounts", "vpk.plans"][random.below(4)];
    let index = &table["vpk.".len()..];
    let sql = match random.below(8) {
        0..=2 => format!("VACUUM {table}"),
        3 => format!("VACUUM FULL {table}"),
        4 => format!("CLUSTER {table} USING {index}_pkey"),
        5 => format!("REINDEX TABLE {table}"),
        6 => {
            let rows = copy_out(admin, table, "random()");
            let mut transaction = admin.transaction().expect("a transaction");
            run(&mut transaction, &format!("TRUNCATE {table}"));
            copy_in(&mut transaction, table, &rows);
            transaction.commit().expect("its end");
            return format!("{table} loaded again");
        }
        _ => {
            let filler =
                "INSERT INTO vpk.keys (id, key_hash, account, environment, name, created_at)
                SELECT gen_random_uuid(), sha256(random()::text::bytea), 'acme', 'live', '-', now()
                  FROM generate_series(1, 300)";
            run(admin, filler);
            if random.below(2) == 1 {
                run(admin, "DELETE FROM vpk.keys WHERE name = '-'");
            }
            "VACUUM vpk.keys".to_owned()
        }
    };
    run(admin, &sql);
    sql
}

/// G1, G2: changes of the tables, of sessions and of the setting, in a random order.
#[test]
fn answers_match_a_model_after_any_order_of_changes() {
    let cluster = cluster();
    let mut random = Random::new();
    run(&mut cluster.client(), "CREATE TABLE aside (LIKE vpk.keys)");
    let sizes = sizes(&cluster);
    let mut model = Model::new(&mut cluster.client());
    for size in &sizes {
        with_size(&cluster, size);
        let mut admin = cluster.client();
        let mut sessions = [cluster.client(), cluster.client()];
        // Whether each session may choose for itself.
        let own = !size.is_empty()
            && sessions
                .iter_mut()
                .all(|session| session.batch_execute(&format!("SET {SETTING} = {size}")).is_ok());
        sessions.iter_mut().for_each(|session| model.answers.remember(session));
        for step in 0..STEPS {
            let what = match random.below(8) {
                0 | 1 => move_rows(&mut admin, &mut random),
                2 => {
                    let before = model.clone();
                    run(&mut admin, "BEGIN");
                    let what = model.change(&mut admin, &mut random);
                    model.answers.check(&mut admin, &format!("{step}, {size}: {what} in progress"));
                    run(&mut admin, "ROLLBACK");
                    model = before;
                    format!("{what} taken back")
                }
                3 if own => {
                    let size = random.pick(&sizes);
                    let session = random.below(sessions.len());
                    run(&mut sessions[session], &format!("SET {SETTING} = {size}"));
                    format!("from now on {size}")
                }
                _ => model.change(&mut admin, &mut random).to_owned(),
            };
            // Either may fall behind.
            let session = random.below(4);
            if let Some(session) = sessions.get_mut(session) {
                model.answers.check(session, &format!("{step}, {size}: {what}"));
            }
        }
        let all = sessions.iter_mut().chain([&mut admin]);
        all.for_each(|session| model.answers.check(session, &format!("{size}: at the end")));
    }
    assert_healthy(&cluster);
}

/// G1: many more keys than a small memory holds, all of them right after each change.
#[test]
fn answers_are_right_for_more_keys_than_the_cache_holds() {
    const KEYS: usize = 12_000;
    let cluster = cluster();
    let mut admin = cluster.client();
    let tokens: Vec<String> = (0..KEYS)
        .map(|number| {
            let body = format!("vpk_live_oneOfVeryManyKeys{number:09}");
            format!("{body}{}", String::from_utf8_lossy(&checksum(body.as_bytes())))
        })
        .collect();
    let sql = "INSERT INTO vpk.keys (id, key_hash, account, environment, name, created_at)
               SELECT gen_random_uuid(), sha256(token::bytea), 'default', 'live', at::text, now()
                 FROM unnest($1::text[]) WITH ORDINALITY AS t (token, at)";
    admin.execute(sql, &[&tokens]).expect("keys");
    for size in sizes(&cluster) {
        with_size(&cluster, &size);
        let (mut admin, mut session) = (cluster.client(), cluster.client());
        let mut check = |revoked: &dyn Fn(usize) -> bool, when: &str| {
            let sql = "SELECT vpk_verify(token)::text FROM unnest($1::text[]) AS token";
            for (at, row) in session.query(sql, &[&tokens]).expect("answers").iter().enumerate() {
                let expected = if revoked(at + 1) { REVOKED } else { VALID };
                assert_eq!(row.get::<_, &str>(0), expected, "{size}, {when}: {at}");
            }
        };
        run(&mut admin, "UPDATE vpk.keys SET revoked_at = NULL WHERE revoked_at IS NOT NULL");
        for _ in 0..2 {
            check(&|_| false, "at first");
        }
        run(&mut admin, "UPDATE vpk.keys SET revoked_at = now() WHERE name::int % 7 = 0");
        check(&|number| number.is_multiple_of(7), "some are revoked");
        run(&mut admin, "UPDATE vpk.keys SET revoked_at = NULL WHERE name::int % 14 = 0");
        run(&mut admin, "VACUUM vpk.keys");
        run(&mut admin, "UPDATE vpk.keys SET revoked_at = now() WHERE name::int % 11 = 0");
        let revoked = |number: usize| number % 14 == 7 || number.is_multiple_of(11);
        check(&revoked, "others are");
        run(&mut admin, "CLUSTER vpk.keys USING keys_pkey");
        check(&revoked, "all are elsewhere");
    }
    assert_healthy(&cluster);
}
