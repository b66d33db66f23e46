//! What is granted to an account on top of its quotas.

use pgrx::pg_sys::{INT8OID, TEXTOID, TIMESTAMPTZOID};

use crate::pg::call::Call;
use crate::pg::sql::statement::Statement;
use crate::pg::types::{SqlValue, Text, Timestamp};
use crate::store::events::{self, Caller, missed_events, record_events};

/// Sets what was granted to an account, whose row the transaction has locked, and records it.
pub fn set(call: &Call, account: Text, grants: &str, details: &GrantDetails, caller: Caller) {
    let text = |text: &str| Text::new(call, text.as_bytes()).datum();
    let parameters = [
        Some(account.datum()),
        Some(text(grants)),
        Some(text(details.meter)),
        Some(text(details.period)),
        Some(details.period_start.datum()),
        Some(details.amount.into()),
        details.reason.map(|reason| reason.datum()),
        Some(caller.role.datum()),
        Some(caller.session_role.datum()),
    ];
    events::write(call, &SET_GRANTS, &parameters);
}

/// What the event of a grant says.
pub struct GrantDetails<'call> {
    /// What is counted.
    pub meter: &'call str,
    /// The length of the period.
    pub period: &'call str,
    /// When the period began.
    pub period_start: Timestamp,
    /// How much was granted.
    pub amount: i64,
    /// Why, if the caller says so.
    pub reason: Option<Text>,
}

static SET_GRANTS: Statement = Statement::new(
    sql!(
        "WITH granted AS (
            UPDATE vpk.accounts AS a SET quota_grants = $2 WHERE a.account = $1 RETURNING a.account
        ), ",
        record_events!(
            "event, account, details",
            of: "SELECT 'quota_granted'::text, g.account,
                        pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object(
                            'meter', $3, 'period', $4, 'period_start', $5, 'amount', $6,
                            'reason', $7))
                   FROM granted AS g",
            by: "$8", "$9"
        ),
        " SELECT ",
        missed_events!()
    ),
    &[TEXTOID, TEXTOID, TEXTOID, TEXTOID, TIMESTAMPTZOID, INT8OID, TEXTOID, TEXTOID, TEXTOID],
);
