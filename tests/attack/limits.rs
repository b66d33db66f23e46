//! G11, G12: accounts and keys with rate limits and quotas that are set, changed and removed
//! meanwhile. What comes back takes longer than the attack, so each answer is known, and so is what
//! is used. Of racing calls, exactly as many pass as all limits allow together.

mod model;

use std::sync::Barrier;
use std::thread;

use crate::attack::Attack;
use crate::support::keys::{Key, create_for, set_plan};
use crate::support::known::{assert_healthy, run as execute};
use crate::support::random::Random;
use crate::support::usage::{FLUSH_EVERY_100MS, counter, wait_for_end_of_flush};
use crate::support::{Client, Cluster, value, wait_until};
use model::{Applied, GRANTED, Holder, KEYS, KINDS, Kind, Limits, Model};

/// How many steps an account lives for.
const STEPS: usize = 50;

const SESSIONS: usize = 6;

const PLANS: [&str; 2] = ["Plus", "Pro"];

/// How many calls a rate limit lets pass at once, and a quota in all. Those of a limit that earns
/// one call a day.
const AMOUNTS: [i64; 7] = [1, 2, 3, 8, 30, 100, 300];

/// The ways to call, which say what is charged at COST.
const WAYS: [(&str, bool); 4] = [
    ("vpk_verify($1)", false),
    ("vpk_verify_hash(sha256($1::text::bytea))", false),
    ("(SELECT status FROM vpk_authenticate('Bearer ' || $1, cost => COST))", true),
    ("(SELECT status FROM vpk_task_start($1, cost => COST))", true),
];

pub fn run(attack: &Attack) {
    let cluster = Cluster::start(FLUSH_EVERY_100MS);
    let mut admin = cluster.client();
    execute(&mut admin, "UPDATE vpk.plans SET concurrent_tasks = NULL");
    // Its year ends no sooner than in 364 days.
    let anchor = value(&mut admin, "SELECT (current_date - 1)::text", &[]);
    let mut number = 0;
    while attack.goes_on() {
        Round::start(attack, &cluster, &anchor, number).walk();
        number += 1;
    }
    let unenforced = counter(&mut cluster.client(), "limits_unenforced");
    if unenforced > 0 {
        attack.fault(format!("{unenforced} limits were not enforced, and there was room"));
    }
    assert_healthy(&cluster);
}

/// One account with its keys.
struct Round<'run> {
    attack: &'run Attack,
    cluster: &'run Cluster,
    anchor: &'run str,
    random: Random,
    number: u64,
    account: String,
    keys: Vec<Key>,
    sessions: Vec<Client>,
    model: Model,
    /// For the report of a fault.
    steps: Vec<String>,
}

impl<'run> Round<'run> {
    fn start(attack: &'run Attack, cluster: &'run Cluster, anchor: &'run str, number: u64) -> Self {
        let mut random = attack.random(number, 0);
        let mut admin = cluster.client();
        let mut model = Model::default();
        for (name, limits) in PLANS.iter().zip(&mut model.plans) {
            for kind in KINDS {
                if kind == GRANTED || random.below(3) == 0 {
                    limits.insert(kind, *random.pick(&AMOUNTS));
                }
            }
            set_columns(&mut admin, name, limits, anchor);
        }
        let account = format!("limited {number}");
        set_plan(&mut admin, &account, PLANS[model.plan]);
        let keys = (0..KEYS).map(|_| create_for(&mut admin, "limited", &account)).collect();
        let sessions = (0..SESSIONS).map(|_| cluster.client()).collect();
        let steps = vec![format!("the plans have {:?}", model.plans)];
        Round { attack, cluster, anchor, random, number, account, keys, sessions, model, steps }
    }

    fn walk(&mut self) {
        for _ in 0..STEPS {
            if !self.attack.goes_on() {
                return;
            }
            match self.random.below(100) {
                0..50 => self.call(),
                50..60 => self.race(),
                60..66 => self.charge(),
                66..70 => self.grant(),
                70..84 => self.set(),
                84..88 => self.change_plan(),
                88..92 => self.reset(),
                92..99 => self.look(),
                _ => self.restart(),
            }
            self.attack.step();
        }
        self.look();
        self.flushed();
    }

    fn session(&mut self) -> &mut Client {
        let number = self.random.below(SESSIONS);
        &mut self.sessions[number]
    }

    /// One call.
    fn call(&mut self) {
        let key = self.random.below(KEYS);
        let (way, takes_cost) = *self.random.pick(&WAYS);
        let (said, cost) = match takes_cost {
            true => *self.random.pick(&[("NULL", 1), ("0", 0), ("1", 1), ("2", 2), ("5", 5)]),
            false => ("1", 1),
        };
        let sql = format!("SELECT {way}::text").replace("COST", said);
        let token = self.keys[key].token.clone();
        let found = value(self.session(), &sql, &[&token]);
        let expected = self.model.call(key, cost);
        self.steps.push(format!("key {key}: {way} at {said}: {found}"));
        self.check(&found, expected);
    }

    /// Many calls of all sessions at once.
    fn race(&mut self) {
        let calls = *self.random.pick(&[1, 3, 20, 60]);
        let start = Barrier::new(SESSIONS);
        let (keys, start) = (&self.keys, &start);
        let answers: Vec<(usize, String)> = thread::scope(|scope| {
            let mut racing = Vec::new();
            for client in &mut self.sessions {
                let key = self.random.below(KEYS);
                // A subselect that depends on no row would call once for all rows.
                let token = "substr($1, 1 + 0 * n)";
                let way = self.random.pick(&WAYS).0.replace("COST", "1").replace("$1", token);
                let sql = format!(
                    "SELECT string_agg({way}::text, ',') FROM generate_series(1, {calls}) AS n"
                );
                racing.push(scope.spawn(move || {
                    start.wait();
                    let answers = value(client, &sql, &[&keys[key].token]);
                    answers.split(',').map(|it| (key, it.to_owned())).collect::<Vec<_>>()
                }));
            }
            racing.into_iter().flat_map(|it| it.join().expect("answers")).collect()
        });
        self.steps.push(format!("{} racing calls", answers.len()));
        let wrong = self.model.race(&answers);
        let told = || self.told(&wrong.clone().unwrap_or_default());
        self.attack.check_many(answers.len() as u64, wrong.is_none(), told);
        self.look();
    }

    fn charge(&mut self) {
        let (key, meter) = (self.random.below(KEYS), *self.random.pick(&["calls", "tokens"]));
        let cost = *self.random.pick(&[1_i64, 4, 50, 0, -1, -5, -100]);
        let sql = "SELECT vpk_charge($1::text::uuid, $2, $3)::text";
        let id = self.keys[key].id.clone();
        let found = value(self.session(), sql, &[&id, &cost, &meter]);
        let left = self.model.charge(key, meter, cost);
        self.steps.push(format!("key {key}: {cost} {meter} are charged, {found} are left"));
        self.check(&found, &left.map_or(String::new(), |left| left.to_string()));
    }

    fn grant(&mut self) {
        let amount = *self.random.pick(&[1_i64, 10, 40]);
        let sql = "SELECT vpk_grant_quota($1, $2, period => 'total')::text";
        let account = self.account.clone();
        let found = value(self.session(), sql, &[&account, &amount]);
        self.model.granted += amount;
        let applied = self.model.applied(None);
        let granted =
            applied.iter().find(|limit| limit.kind == GRANTED).expect("both plans' quota");
        let left = self.model.left(granted);
        self.steps.push(format!("{amount} are granted, {found} are left"));
        self.check(&found, &left.to_string());
    }

    /// Sets, changes or removes a limit of the account or a key.
    fn set(&mut self) {
        let holder = Some(self.random.below(KEYS + 1)).filter(|key| *key < KEYS);
        let kind = *self.random.pick(&KINDS);
        let is_set = self.model.own(holder).contains_key(&kind);
        let amount =
            Some(*self.random.pick(&AMOUNTS)).filter(|_| !is_set || self.random.below(2) == 0);
        let number = amount.map_or("NULL".to_owned(), |amount| amount.to_string());
        let arguments = match kind {
            Kind::Rate(name) => {
                let earned = amount.map_or("NULL", |_| "31");
                format!("vpk_set_rate_limit('{name}', {earned}, '31 days', {number}")
            }
            Kind::Quota(meter, span) => {
                // "A quota that is removed and set again counts from then on": what a flush adds at
                // the same time may be of before or after that.
                let applied = self.model.applied(holder);
                let counts = |limit: &Applied| (limit.holder, limit.kind) == (holder, kind);
                if amount.is_some() && !applied.iter().any(counts) {
                    self.flushed();
                    self.model.forget(holder, kind);
                }
                let anchor = self.anchor;
                format!("vpk_set_quota({number}, '{span}', '{meter}', anchor => '{anchor}'")
            }
        };
        let whose = self.whose(holder);
        let sql = format!("SELECT {arguments}, {whose})");
        execute(self.session(), &sql);
        self.steps.push(sql);
        match amount {
            Some(amount) => self.model.own(holder).insert(kind, amount),
            None => self.model.own(holder).remove(&kind),
        };
        self.give_back_excess(holder);
    }

    fn change_plan(&mut self) {
        self.model.plan = 1 - self.model.plan;
        let plan = PLANS[self.model.plan];
        let account = self.account.clone();
        set_plan(self.session(), &account, plan);
        self.steps.push(format!("the plan is {plan}"));
        self.give_back_excess(None);
    }

    /// "What was used stays used, but at most the new burst": of the new one or of a later one,
    /// depending on calls. So nothing is used any more.
    fn give_back_excess(&mut self, holder: Holder) {
        for limit in self.model.applied(holder) {
            if let Kind::Rate(name) = limit.kind
                && limit.holder == holder
                && self.model.left(&limit) < 0
            {
                let whose = self.whose(holder);
                let sql = format!("SELECT vpk_reset_rate_limit({whose}, policy => '{name}')");
                execute(self.session(), &sql);
                self.steps.push(sql);
                self.model.forget(holder, limit.kind);
            }
        }
    }

    /// Gives back what is used of the account's or a key's own rate limits.
    fn reset(&mut self) {
        let holder = Some(self.random.below(KEYS + 1)).filter(|key| *key < KEYS);
        let whose = self.whose(holder);
        let sql = format!("SELECT vpk_reset_rate_limit({whose})::text");
        let found = value(self.session(), &sql, &[]);
        let mut used = 0;
        for limit in self.model.applied(holder) {
            if matches!(limit.kind, Kind::Rate(_)) && limit.holder == holder {
                used += u32::from(self.model.forget(holder, limit.kind));
            }
        }
        self.steps.push(sql);
        self.check(&found, &used.to_string());
    }

    /// Compares what the account and each key have left and have used.
    fn look(&mut self) {
        for holder in [None, Some(0), Some(1), Some(2)] {
            let whose = self.whose(holder);
            let sql = format!(
                "SELECT concat_ws(', ',
                     (SELECT string_agg(concat_ws(' ', applies_to, policy, burst, remaining), ', '
                             ORDER BY applies_to, policy) FROM vpk_rate_limit_state({whose})),
                     (SELECT string_agg(concat_ws(' ', applies_to, meter, period, amount, granted,
                                                  used), ', '
                             ORDER BY applies_to, meter, period) FROM vpk_quota({whose})))"
            );
            let found = value(self.session(), &sql, &[]);
            let applied = self.model.applied(holder);
            let (rates, quotas): (Vec<_>, Vec<_>) =
                applied.iter().partition(|limit| matches!(limit.kind, Kind::Rate(_)));
            let shown = |limit: &&Applied| {
                let whose = if limit.holder.is_some() { "key" } else { "account" };
                let used = self.model.used(limit.holder, limit.kind);
                match limit.kind {
                    Kind::Rate(name) => {
                        format!("{whose} {name} {} {}", limit.amount, self.model.left(limit))
                    }
                    Kind::Quota(meter, span) => {
                        let granted = self.model.granted(limit);
                        format!("{whose} {meter} {span} {} {granted} {used}", limit.amount)
                    }
                }
            };
            let all: Vec<String> = rates.iter().chain(&quotas).map(shown).collect();
            self.check(&found, &all.join(", "));
        }
    }

    /// Waits until the table has what is used of quotas, and no more.
    fn flushed(&mut self) {
        let mut expected: Vec<String> = self
            .model
            .quotas_used()
            .map(|(holder, meter, span, used)| {
                let subject = holder.map_or(&self.account, |key| &self.keys[key].id);
                format!("{subject} {meter} {span} {used}")
            })
            .collect();
        expected.sort();
        let expected = expected.join(", ");
        let mut subjects: Vec<String> = self.keys.iter().map(|key| key.id.clone()).collect();
        subjects.push(self.account.clone());
        let sql = "SELECT string_agg(u.line, ', ' ORDER BY u.line COLLATE \"C\")
                     FROM (SELECT concat_ws(' ', subject, meter, span, used) FROM vpk.quota_usage
                            WHERE used <> 0 AND subject = ANY ($1)) AS u (line)";
        let client = &mut self.sessions[0];
        wait_until(&format!("the table has {expected}"), || {
            value(client, sql, &[&subjects]) == expected
        });
        wait_for_end_of_flush(client);
        self.attack.check(true, String::new);
    }

    /// A clean restart forgets nothing.
    fn restart(&mut self) {
        self.cluster.down();
        self.cluster.up();
        self.sessions = (0..SESSIONS).map(|_| self.cluster.client()).collect();
        self.steps.push("a restart".to_owned());
        self.look();
    }

    /// The argument that names the account or a key.
    fn whose(&self, holder: Holder) -> String {
        match holder {
            Some(key) => format!("id => '{}'", self.keys[key].id),
            None => format!("account => '{}'", self.account),
        }
    }

    fn check(&self, found: &str, expected: &str) {
        self.attack.check(found == expected, || self.told(&format!("{found}, not {expected}")));
    }

    /// What is wrong, and what led there.
    fn told(&self, what: &str) -> String {
        let seed = self.attack.seed(self.number);
        format!("VIBEPEAK_SEED={seed}: {what}\nafter\n  {}", self.steps.join("\n  "))
    }
}

/// Sets the limits of a plan by hand.
fn set_columns(client: &mut Client, plan: &str, limits: &Limits, anchor: &str) {
    let (mut rates, mut quotas) = (Vec::new(), Vec::new());
    for (kind, amount) in limits {
        match kind {
            Kind::Rate(name) => rates.push(format!("{name}=31/31d+{amount}")),
            Kind::Quota(meter, "total") => quotas.push(format!("{meter}={amount}/total")),
            Kind::Quota(meter, span) => {
                quotas.push(format!("{meter}={amount}/{span} from {anchor}"))
            }
        }
    }
    let sql = "UPDATE vpk.plans SET rate_limits = nullif($1, ''), quotas = $2 WHERE plan = $3";
    let columns = [rates, quotas].map(|limits| limits.join(", "));
    client.execute(sql, &[&columns[0], &columns[1], &plan]).expect("an update");
}
