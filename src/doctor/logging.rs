//! Whether keys can get into the server log.

use std::ffi::CString;

use pure::encoding::{narrow, widen};

use super::finding::{Finding, enumerated};
use crate::pg::call::Call;
use crate::pg::redaction::Redaction;
use crate::pg::server::setting_values;
use crate::store::doctor::{self, Setting};
use crate::store::listing::Listing;

/// What a setting makes the server write to its log.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Writes {
    /// Statements, their parse and plan trees, or the parameters of those that fail.
    Text,
    /// Parameters of statements that another setting makes it write.
    Parameters,
    /// Everything, without redacting keys.
    Unredacted,
}

/// The name of a setting, what it makes the server write, and which values do so, in the server's
/// own spelling.
type Known = (&'static str, Writes, fn(&str) -> bool);

/// The settings that matter.
const SETTINGS: [Known; 14] = [
    (AUTO_EXPLAIN, Writes::Text, is_limit),
    ("debug_print_parse", Writes::Text, is_on),
    ("debug_print_plan", Writes::Text, is_on),
    ("debug_print_raw_parse", Writes::Text, is_on),
    ("debug_print_rewritten", Writes::Text, is_on),
    ("log_min_duration_sample", Writes::Text, is_limit),
    (LOG_MIN_DURATION, Writes::Text, is_limit),
    // At any other level, the server still writes the statement in which a session ended or waited
    // too long for a lock.
    ("log_min_error_statement", Writes::Text, |value| value != "panic"),
    ("log_parameter_max_length", Writes::Parameters, is_not_zero),
    ("log_parameter_max_length_on_error", Writes::Text, is_not_zero),
    ("log_statement", Writes::Text, |value| value != "none"),
    ("log_transaction_sample_rate", Writes::Text, is_not_zero),
    ("pgaudit.log", Writes::Text, names_a_class),
    ("vibepeak_keys.redact_logs", Writes::Unredacted, |value| !is_on(value)),
];
/// The share of statements that log_min_duration_sample applies to.
const SAMPLE_RATE: &str = "log_statement_sample_rate";
/// The setting of contrib/auto_explain, which this session may not have loaded.
const AUTO_EXPLAIN: &str = "auto_explain.log_min_duration";
/// A setting of the server with the same type, unit and range.
const LOG_MIN_DURATION: &str = "log_min_duration_statement";

fn is_limit(value: &str) -> bool {
    value != "-1"
}

fn is_on(value: &str) -> bool {
    value == "on"
}

fn is_not_zero(value: &str) -> bool {
    value.parse() != Ok(0.0)
}

/// Whether a list of pgaudit names any class of statements. A class that another item takes away
/// counts too.
fn names_a_class(value: &str) -> bool {
    let classes = value.split(',').map(|class| class.trim_matches([' ', '"']));
    classes.into_iter().any(|class| !class.is_empty() && !class.eq_ignore_ascii_case("none"))
}

/// A setting with the meaning of its value.
pub struct Judged {
    /// The setting, as it was set.
    setting: Setting,
    /// The value in the server's own spelling; as it was set where no library defines the setting.
    meaning: String,
}

/// The values of the settings in the running session, and those set for roles and databases. Values
/// that the server refuses, and so ignores, are left out.
pub fn settings(call: &Call) -> Vec<Judged> {
    let names: Vec<_> = SETTINGS.iter().map(|(name, ..)| *name).chain([SAMPLE_RATE]).collect();
    let settings = doctor::settings(call, &names).into_iter();
    settings
        .filter_map(|setting| {
            let meaning = meaning(&setting.name, &setting.value)?;
            Some(Judged { setting, meaning })
        })
        .collect()
}

/// The meaning of a value, as the server's own parser says; None where the parser refuses it.
fn meaning(name: &str, value: &str) -> Option<String> {
    let value_text = CString::new(narrow(value)).ok()?;
    // A library that is not loaded here may be loaded in other sessions.
    for parser in [name, if name == AUTO_EXPLAIN { LOG_MIN_DURATION } else { name }] {
        let parser = CString::new(parser).ok()?;
        if setting_values::is_defined(&parser) {
            return setting_values::understood(&parser, &value_text).map(|text| widen(&text));
        }
    }
    Some(value.to_owned())
}

/// The settings that make the server write something of this kind, as the finding shows them.
fn written(settings: &[Judged], writes: Writes) -> Vec<String> {
    let none_is_sampled = settings.iter().any(|Judged { setting, meaning }| {
        setting.name == SAMPLE_RATE && setting.set_for.is_none() && !is_not_zero(meaning)
    });
    let counts = |judged: &&Judged| {
        let name = &judged.setting.name;
        let known = SETTINGS.iter().find(|(known, ..)| known == name);
        let is_on = known.is_some_and(|(_, what, is_on)| *what == writes && is_on(&judged.meaning));
        is_on && !(none_is_sampled && name == "log_min_duration_sample")
    };
    let shown = |Judged { setting, .. }: &Judged| match setting.set_for.as_deref() {
        None => format!("{} = {}", setting.name, setting.value),
        Some("") => format!("{} = {} (all roles)", setting.name, setting.value),
        Some(set_for) => format!("{} = {} ({set_for})", setting.name, setting.value),
    };
    settings.iter().filter(counts).map(shown).collect()
}

fn enumerate(mut lines: Vec<String>) -> String {
    let total = lines.len() as i64;
    lines.truncate(10);
    enumerated(&Listing { lines, total })
}

/// Whether keys are redacted in the server log; and if not, which settings make the server log
/// them.
pub fn redaction(redaction: Redaction, settings: &[Judged]) -> Finding {
    const ITEM: &str = "log_redaction";
    let switched_off = written(settings, Writes::Unredacted);
    let unredacted = match redaction {
        Redaction::Server if !switched_off.is_empty() => {
            return Finding::bad(
                ITEM,
                format!(
                    "keys are redacted in the server log, except for {}",
                    enumerate(switched_off)
                ),
                "Use ALTER ROLE or ALTER DATABASE to reset the setting.",
            );
        }
        Redaction::Server => {
            return Finding::good(
                ITEM,
                "keys are redacted in the server log; out of reach are a key that is encoded or split; \
                 application_name; what other programs write to the server's standard error; the \
                 report of an out of memory while a statement is analyzed; the lines of a start \
                 before libraries are loaded; and the text of a statement in pg_stat_activity until \
                 it is analyzed",
            );
        }
        Redaction::Session => {
            "keys are redacted in the server log only by sessions that have loaded the library"
        }
        Redaction::Off => "keys are not redacted in the server log",
    };
    let mut lines = written(settings, Writes::Text);
    // Without a statement in the log, only an error message can quote a key: no parameters follow.
    let statements = lines.iter().any(|line| !line.starts_with("log_parameter_max_length"));
    if statements {
        lines.extend(written(settings, Writes::Parameters));
    }
    lines.sort();
    let detail = match lines.is_empty() {
        true => format!(
            "{unredacted}; no statement is written to it, but an error message can quote a key"
        ),
        false => format!(
            "{unredacted}; it contains statements or parameters because of {}",
            enumerate(lines)
        ),
    };
    let advice = match switched_off.is_empty() {
        true => {
            "Preload the library to have keys redacted. Otherwise, pass keys as bind parameters only, \
             keep statements and their parameters out of the log, and use vpk_doctor_accept."
        }
        false => "Turn vibepeak_keys.redact_logs on.",
    };
    Finding::bad(ITEM, detail, advice)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A setting, in the server's own spelling.
    fn judged(name: &str, value: &str, set_for: Option<&str>) -> Judged {
        let (name, value) = (name.to_owned(), value.to_owned());
        let set_for = set_for.map(str::to_owned);
        Judged { meaning: value.clone(), setting: Setting { name, value, set_for } }
    }

    fn found(state: Redaction, settings: &[(&str, &str, Option<&str>)]) -> (Option<bool>, String) {
        let settings: Vec<Judged> =
            settings.iter().map(|(name, value, set_for)| judged(name, value, *set_for)).collect();
        let finding = redaction(state, &settings);
        assert_eq!(finding.item, "log_redaction");
        assert_eq!(finding.advice.is_none(), finding.ok == Some(true));
        (finding.ok, finding.detail)
    }

    /// Whether the setting is named where nothing is redacted.
    fn named(name: &str, value: &str) -> bool {
        let (ok, detail) = found(Redaction::Off, &[(name, value, None)]);
        assert_eq!(ok, Some(false));
        detail.contains(&format!("{name} = {value}"))
    }

    #[test]
    fn settings_that_write_statements_are_named() {
        for (name, on, off) in [
            ("auto_explain.log_min_duration", &["0", "250"][..], &["-1"][..]),
            ("debug_print_parse", &["on"], &["off"]),
            ("debug_print_plan", &["on"], &["off"]),
            ("debug_print_raw_parse", &["on"], &["off"]),
            ("debug_print_rewritten", &["on"], &["off"]),
            ("log_min_duration_sample", &["0", "1000"], &["-1"]),
            ("log_min_duration_statement", &["0", "250"], &["-1"]),
            ("log_min_error_statement", &["debug5", "error", "fatal"], &["panic"]),
            ("log_parameter_max_length_on_error", &["-1", "8"], &["0"]),
            ("log_statement", &["ddl", "mod", "all"], &["none"]),
            ("log_transaction_sample_rate", &["1", "0.01"], &["0", "-0"]),
            ("pgaudit.log", &["all", "write, ddl", "none, read"], &["none", "", "NONE, \"none\""]),
            ("log_duration", &[], &["on"]),
        ] {
            on.iter().for_each(|value| assert!(named(name, value), "{name} = {value}"));
            off.iter().for_each(|value| assert!(!named(name, value), "{name} = {value}"));
        }
    }

    #[test]
    fn parameters_count_only_where_statements_are_written() {
        let length = ("log_parameter_max_length", "-1", None);
        let says = |settings: &[_]| {
            found(Redaction::Off, settings).1.contains("log_parameter_max_length = -1")
        };
        assert!(!says(&[length]));
        assert!(!says(&[length, ("log_parameter_max_length_on_error", "8", None)]));
        assert!(says(&[length, ("log_statement", "all", None)]));
        assert!(!says(&[("log_parameter_max_length", "0", None), ("log_statement", "all", None)]));
    }

    #[test]
    fn a_sample_rate_of_zero_writes_nothing() {
        let limit = ("log_min_duration_sample", "0", None);
        let says =
            |settings: &[_]| found(Redaction::Off, settings).1.contains("log_min_duration_sample");
        assert!(!says(&[limit, (SAMPLE_RATE, "0", None)]));
        assert!(says(&[limit, (SAMPLE_RATE, "0.5", None)]));
    }

    #[test]
    fn settings_of_roles_and_databases_are_distinguished() {
        let settings = [
            ("log_statement", "none", None),
            ("log_statement", "all", Some("role service")),
            ("log_statement", "mod", Some("")),
        ];
        let (_, detail) = found(Redaction::Off, &settings);
        let expected =
            "because of log_statement = all (role service); log_statement = mod (all roles)";
        assert!(detail.ends_with(expected), "{detail}");
    }

    #[test]
    fn redaction_in_every_session_is_well() {
        let (ok, detail) = found(Redaction::Server, &[("log_statement", "all", None)]);
        assert_eq!(ok, Some(true));
        for gap in [
            "encoded or split",
            "standard error",
            "out of memory",
            "before libraries are loaded",
            "application_name",
            "pg_stat_activity",
        ] {
            assert!(detail.contains(gap), "{gap}");
        }
        let settings = [("debug_print_plan", "on", None), ("log_statement", "all", None)];
        assert_eq!(found(Redaction::Server, &settings).0, Some(true));
    }

    #[test]
    fn redaction_that_is_switched_off_is_not_well() {
        let off = |set_for| ("vibepeak_keys.redact_logs", "off", set_for);
        let (ok, detail) = found(Redaction::Server, &[off(Some("role service"))]);
        assert_eq!(ok, Some(false));
        assert!(detail.ends_with("vibepeak_keys.redact_logs = off (role service)"), "{detail}");
        let on = ("vibepeak_keys.redact_logs", "on", None);
        assert_eq!(found(Redaction::Server, &[on]).0, Some(true));
        let setting = judged("vibepeak_keys.redact_logs", "off", None);
        let advice = redaction(Redaction::Off, &[setting]).advice;
        assert_eq!(advice.as_deref(), Some("Turn vibepeak_keys.redact_logs on."));
    }

    #[test]
    fn redaction_in_some_sessions_is_not_well() {
        let (ok, detail) = found(Redaction::Session, &[("log_statement", "all", None)]);
        assert_eq!(ok, Some(false));
        assert!(detail.contains("only by sessions") && detail.contains("log_statement = all"));
        let (ok, detail) = found(Redaction::Off, &[("log_statement", "none", None)]);
        assert_eq!(ok, Some(false));
        assert!(detail.contains("an error message can quote a key"), "{detail}");
    }
}
