//! Handing over the charges of a standby, which cannot write to its tables, to the primary: in the
//! same way as its uses ([`crate::usage::handover`]).

use std::cell::RefCell;

use pure::error::CallError;
use pure::limits::applicable::Holder;
use pure::limits::bucket_set::BucketId;
use pure::limits::name::Name;
use pure::limits::pending_charge::{KeyMissed, PendingCharge};
use pure::limits::quota_decision::Counts;
use pure::limits::quota_period::Span;

use crate::limits::quotas::reading;
use crate::pg::background::shmem;
use crate::pg::call::Call;
use crate::pg::server::{clock, database, settings};
use crate::pg::sql::at_end::AtEnd;
use crate::pg::sql::commit;
use crate::pg::sql::lock::{self, HandedOver};
use crate::pg::types::{Text, Timestamp, Uuid};
use crate::store::history::charges as history;
use crate::store::quotas::charges;
use crate::usage::standby::{
    begin, begin_settling, checked_limit, in_the_past, of_standby, required, while_a_standby,
};

/// What a session has shown. It is valid only while the session holds the lock under which it was.
#[derive(Default)]
struct Shown {
    /// The number of the first one. None is ever used twice in a session.
    first: i64,
    /// The charges; None for those that are settled.
    charges: Vec<Option<PendingCharge>>,
}

thread_local! {
    static SHOWN: RefCell<Shown> = RefCell::default();
}

/// The database in which this transaction hands charges over. What was reported and not settled
/// counts again when it ends.
static HANDED: AtEnd<u32> = AtEnd::new(|database, _| {
    if let Some(sets) = shmem::quota_sets() {
        sets.take_back(*database);
    }
});

impl Shown {
    fn renew(&mut self, charges: Vec<PendingCharge>) -> i64 {
        let number = i64::try_from(self.charges.len()).unwrap_or(i64::MAX);
        self.first = self.first.saturating_add(number).max(1);
        self.charges = charges.into_iter().map(Some).collect();
        self.first
    }

    fn take(&mut self, number: i64) -> Option<PendingCharge> {
        let at = usize::try_from(number.checked_sub(self.first)?).ok()?;
        self.charges.get_mut(at)?.take()
    }
}

/// A charge as it is handed over.
pub struct Report {
    /// Its number, by which it is settled.
    pub number: i64,
    /// The charge.
    pub charge: PendingCharge,
    /// When the quota was used last, about.
    pub charged_at: Timestamp,
}

/// Reports what is pending of at most `max_rows` quotas. No other session can report charges of
/// this database until the transaction ends, and what is reported does not count until then.
pub fn pending(max_rows: Option<i32>) -> Result<Vec<Report>, CallError> {
    let limit = checked_limit(max_rows)?;
    of_standby()?;
    let database = database::own();
    if begin(HandedOver::Charges, "charges")? {
        // What was noted ends with the lock, also where a subtransaction is rolled back.
        HANDED.note(database);
    }
    let Some(sets) = shmem::quota_sets() else { return Ok(Vec::new()) };
    sets.take_back(database);
    let shown = sets.show(database, limit);
    let first = SHOWN.with_borrow_mut(|it| it.renew(shown.clone()));
    let report = |(number, charge): (i64, PendingCharge)| Report {
        number,
        charge,
        charged_at: charged_at(&charge),
    };
    Ok((first..).zip(shown).map(report).collect())
}

/// When a quota was used last. Its base was read then, or less than two seconds before, if not
/// before a restart.
fn charged_at(charge: &PendingCharge) -> Timestamp {
    if charge.base_at == 0 {
        return clock::server_start();
    }
    let seconds = clock::monotonic_seconds().saturating_sub(charge.base_at);
    Timestamp::from_micros(clock::now().micros() - i64::from(seconds) * 1_000_000)
}

/// Takes a charge that has been added to the primary's table out of the memory. Returns false where
/// it was not reported in this transaction, or is settled.
pub fn settle(number: Option<i64>) -> Result<bool, CallError> {
    let number = required("charge", number)?;
    let ledger = of_standby()?;
    begin_settling(HandedOver::Charges, "charges")?;
    let charge = SHOWN.with_borrow_mut(|shown| shown.take(number));
    let (Some(charge), Some(sets)) = (charge, shmem::quota_sets()) else { return Ok(false) };
    let reading = reading();
    while_a_standby(ledger, || sets.settle_shown(&charge, reading))?;
    Ok(true)
}

/// A charge of another server, as a caller passes it.
pub struct Handed {
    /// A key that was charged.
    pub key_id: Option<Uuid>,
    /// Whose quota it is: `account` or `key`.
    pub applies_to: Option<Text>,
    /// What is counted.
    pub meter: Option<Text>,
    /// The length of a period.
    pub period: Option<Text>,
    /// When the period began.
    pub period_start: Option<Timestamp>,
    /// How much was used.
    pub amount: Option<i64>,
    /// How much of it counts over time.
    pub charged: Option<i64>,
    /// From which use on an event warns; 0 is never.
    pub warn_from: Option<i64>,
    /// When it was used last.
    pub charged_at: Option<Timestamp>,
}

/// Adds a charge that another server has counted to the tables, as a flush does. Returns false if
/// the key does not exist. The commit waits for the disk, since the other server settles then.
pub fn add(call: &Call, handed: &Handed) -> Result<bool, CallError> {
    let charged_at = in_the_past("charged_at", required("charged_at", handed.charged_at)?)?;
    let charge = PendingCharge {
        at: (0, 0),
        id: BucketId { holder: 0, policy: 0 },
        database: database::own(),
        key: required("key_id", handed.key_id)?.to_bytes(),
        counts: Counts {
            holder: named(call, "applies_to", handed.applies_to, Holder::from_name)?,
            meter: named(call, "meter", handed.meter, Name::parse)?,
            span: named(call, "period", handed.period, Span::from_name)?,
            period_start: required("period_start", handed.period_start)?.micros(),
        },
        amount: required("amount", handed.amount)?,
        charged: required("charged", handed.charged)?,
        warn_from: required("warn_from", handed.warn_from)?,
        base: 0,
        base_at: 0,
        key_missed: KeyMissed::NEVER,
    };
    lock::lock_charges(call);
    let added = charges::add(call, &charge);
    if added && settings::usage_history() > 0 {
        history::add_one(call, &charge, charged_at);
    }
    commit::until_on_disk();
    Ok(added)
}

fn named<T>(
    call: &Call,
    what: &str,
    name: Option<Text>,
    parse: impl Fn(&[u8]) -> Option<T>,
) -> Result<T, CallError> {
    parse(required(what, name)?.bytes(call)).ok_or_else(|| {
        CallError::invalid(format!("invalid {what}"))
            .hint(format!("Pass the {what} that the standby returned."))
    })
}
