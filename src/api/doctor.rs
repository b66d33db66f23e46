//! `vpk_doctor`.

use pgrx::prelude::*;

use pure::encoding::narrow;

use crate::doctor;
use crate::pg::call::Call;
use crate::pg::types::Text;
use crate::pg::types::encoding::shown_here;

#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn vpk_doctor(
    call: Call,
) -> TableIterator<
    'static,
    (name!(item, Text), name!(ok, Option<bool>), name!(detail, Text), name!(advice, Option<Text>)),
> {
    let text = |text: &str| Text::new(&call, &shown_here(narrow(text)));
    let rows: Vec<_> = doctor::examine(&call)
        .iter()
        .map(|finding| {
            (
                text(finding.item),
                finding.ok,
                text(&finding.detail),
                finding.advice.as_deref().map(text),
            )
        })
        .collect();
    TableIterator::new(rows)
}
