//! `vpk_doctor`, and accepting what it finds.

use pgrx::prelude::*;

use pure::encoding::narrow;

use crate::doctor::{self, accept};
use crate::pg::call::Call;
use crate::pg::error::OrRaise;
use crate::pg::ffi::guard::passing_errors;
use crate::pg::types::encoding::shown_here;
use crate::pg::types::table::TableIterator;
use crate::pg::types::{Text, Timestamp};

#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn vpk_doctor(
    call: Call,
) -> TableIterator<
    'static,
    (name!(item, Text), name!(ok, Option<bool>), name!(detail, Text), name!(advice, Option<Text>)),
> {
    passing_errors(|| {
        let text = |text: &str| Text::new(&call, &shown_here(narrow(text)));
        let findings = doctor::examine(&call);
        let rows = findings.iter().map(|finding| {
            (
                text(finding.item),
                finding.ok,
                text(&finding.detail),
                finding.advice.as_deref().map(text),
            )
        });
        TableIterator::new(&call, rows)
    })
}

#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn vpk_doctor_accept(item: Option<Text>, what: Option<Text>, until: Option<Timestamp>, call: Call) {
    passing_errors(|| accept::accept(&call, item, what, until).or_raise());
}
