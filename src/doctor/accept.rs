//! `vpk_doctor_accept`: findings that somebody knows of and leaves as they are, for a time.

use pure::encoding::widen;
use pure::error::CallError;

use super::finding::Finding;
use crate::pg::call::Call;
use crate::pg::server::clock;
use crate::pg::types::{Text, Timestamp};
use crate::store::doctor::accepted::{self, Accepted};
use crate::store::events::Caller;

/// Accepts what the doctor finds of an item until an instant. Where that has passed, takes the
/// acceptance back.
pub fn accept(
    call: &Call,
    item: Option<Text>,
    what: Option<Text>,
    until: Option<Timestamp>,
) -> Result<(), CallError> {
    let item = required("item", item)?;
    let what = required("what", what)?;
    let until = required("until", until)?;
    if until.micros() <= clock::now().micros() {
        accepted::withdraw(call, item, what);
        return Ok(());
    }
    let texts = [item, what].map(|text| widen(text.bytes(call)));
    let found = super::found(call);
    let finding = found.iter().find(|finding| finding.item == texts[0]).ok_or_else(|| {
        CallError::invalid("there is no such item").hint("vpk_doctor() lists all items.")
    })?;
    if finding.ok == Some(true) || !finding.parts().any(|part| part == texts[1]) {
        return Err(CallError::invalid(format!(
            "the doctor does not find this of the item \"{}\"",
            finding.item
        ))
        .hint(
            "Pass one of the entries that its detail lists, or all of a detail that lists none.",
        ));
    }
    accepted::accept(call, item, what, until, Caller::of(call));
    Ok(())
}

/// The finding, or that all of it was accepted.
pub(super) fn unless_accepted(finding: Finding, accepted: &[Accepted]) -> Finding {
    let is_accepted = |part: &str| {
        accepted.iter().any(|accepted| accepted.item == finding.item && accepted.what == part)
    };
    if finding.ok == Some(true) || finding.unlisted > 0 || !finding.parts().all(is_accepted) {
        return finding;
    }
    Finding::good(finding.item, format!("accepted: {}", finding.detail))
}

fn required<T>(what: &str, value: Option<T>) -> Result<T, CallError> {
    value.ok_or_else(|| {
        CallError::invalid(format!("{what} must not be null"))
            .hint(format!("Pass a value for {what}."))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepted(item: &str, what: &str) -> Accepted {
        Accepted { item: item.to_owned(), what: what.to_owned() }
    }

    #[test]
    fn a_finding_is_accepted_where_each_of_its_entries_is() {
        let plain = || Finding::bad("item", "a detail", "advice");
        let all = [accepted("item", "a detail"), accepted("item", "one"), accepted("item", "two")];
        assert_eq!(unless_accepted(plain(), &all).detail, "accepted: a detail");
        assert_eq!(unless_accepted(plain(), &all[1..]), plain());
        assert_eq!(unless_accepted(plain(), &[accepted("other", "a detail")]), plain());

        let listed = |unlisted| {
            let entries = ["one", "two"].map(str::to_owned).to_vec();
            Finding { entries, unlisted, ..Finding::bad("item", "found: one; two", "advice") }
        };
        let finding = unless_accepted(listed(0), &all);
        assert_eq!((finding.ok, finding.advice), (Some(true), None));
        assert_eq!(unless_accepted(listed(0), &all[..2]), listed(0), "two is not accepted");
        assert_eq!(unless_accepted(listed(1), &all), listed(1), "there is more");
        let unknown = || Finding::unknown("item", "a detail", "advice");
        assert_eq!(unless_accepted(unknown(), &all).ok, Some(true));
    }
}
