//! Whether keys can get into the server log.

use super::finding::{Finding, enumerated};
use crate::pg::call::Call;
use crate::pg::redaction::Redaction;
use crate::store::doctor::{self, Listing, Setting};

/// What a setting makes the server write to its log.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Writes {
    /// Statements, their parse and plan trees, or the parameters of those that fail.
    Text,
    /// Parameters of statements that another setting makes it write.
    Parameters,
    /// Everything, without masking keys.
    Unmasked,
}

/// The name of a setting, what it makes the server write, and which values do so.
type Known = (&'static str, Writes, fn(&str) -> bool);

/// The settings that matter.
const SETTINGS: [Known; 14] = [
    ("auto_explain.log_min_duration", Writes::Text, is_limit),
    ("debug_print_parse", Writes::Text, is_on),
    ("debug_print_plan", Writes::Text, is_on),
    ("debug_print_raw_parse", Writes::Text, is_on),
    ("debug_print_rewritten", Writes::Text, is_on),
    ("log_min_duration_sample", Writes::Text, is_limit),
    ("log_min_duration_statement", Writes::Text, is_limit),
    // At any other level, the server still writes the statement in which a session ended or waited
    // too long for a lock.
    ("log_min_error_statement", Writes::Text, |value| value != "panic"),
    ("log_parameter_max_length", Writes::Parameters, is_not_zero),
    ("log_parameter_max_length_on_error", Writes::Text, is_not_zero),
    ("log_statement", Writes::Text, |value| value != "none"),
    ("log_transaction_sample_rate", Writes::Text, is_not_zero),
    ("pgaudit.log", Writes::Text, |value| value != "none"),
    ("vibepeak_keys.redact_logs", Writes::Unmasked, |value| !is_on(value)),
];
/// The share of statements that log_min_duration_sample applies to.
const SAMPLE_RATE: &str = "log_statement_sample_rate";

fn is_limit(value: &str) -> bool {
    !value.starts_with('-')
}

fn is_on(value: &str) -> bool {
    !["off", "false", "no", "0", "f", "n"].contains(&value)
}

/// Whether a value, which can have a unit, is not zero.
fn is_not_zero(value: &str) -> bool {
    let number = value.trim_end_matches(|character: char| character.is_ascii_alphabetic());
    number.trim_end().parse() != Ok(0.0)
}

/// The values of the settings in the running session, and those set for roles and databases.
pub fn settings(call: &Call) -> Vec<Setting> {
    let names = SETTINGS.iter().map(|(name, ..)| *name).chain([SAMPLE_RATE]);
    let mut settings = doctor::settings(call, names);
    settings.iter_mut().for_each(|setting| setting.value.make_ascii_lowercase());
    settings
}

/// The settings that make the server write something of this kind, as the finding shows them.
fn written(settings: &[Setting], writes: Writes) -> Vec<String> {
    let none_is_sampled = settings.iter().any(|setting| {
        setting.name == SAMPLE_RATE && setting.set_for.is_none() && !is_not_zero(&setting.value)
    });
    let counts = |setting: &&Setting| {
        let known = SETTINGS.iter().find(|(name, ..)| *name == setting.name);
        let is_on = known.is_some_and(|(_, what, is_on)| *what == writes && is_on(&setting.value));
        is_on && !(none_is_sampled && setting.name == "log_min_duration_sample")
    };
    let shown = |setting: &Setting| match setting.set_for.as_deref() {
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

/// Whether keys are masked in the server log; and if not, which settings make the server log them.
pub fn redaction(redaction: Redaction, settings: &[Setting]) -> Finding {
    const ITEM: &str = "log_redaction";
    let switched_off = written(settings, Writes::Unmasked);
    let unmasked = match redaction {
        Redaction::Server if !switched_off.is_empty() => {
            return Finding::bad(
                ITEM,
                format!(
                    "keys are masked in the server log, except for {}",
                    enumerate(switched_off)
                ),
                "Use ALTER ROLE or ALTER DATABASE to reset the setting.",
            );
        }
        Redaction::Server => {
            return Finding::good(
                ITEM,
                "keys are masked in the server log; out of reach are a key that is encoded or split; \
                 application_name; what other programs write to the server's standard error; the \
                 report of an out of memory while a statement is analyzed; the lines of a start \
                 before libraries are loaded; and the text of a statement in pg_stat_activity until \
                 it is analyzed",
            );
        }
        Redaction::Session => {
            "keys are masked in the server log only by sessions that have loaded the library"
        }
        Redaction::Off => "keys are not masked in the server log",
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
            "{unmasked}; no statement is written to it, but an error message can quote a key"
        ),
        false => format!(
            "{unmasked}; it contains statements or parameters because of {}",
            enumerate(lines)
        ),
    };
    let advice = match switched_off.is_empty() {
        true => {
            "Preload the library to have keys masked. Otherwise, pass keys as bind parameters only, and \
             keep statements and their parameters out of the log."
        }
        false => "Turn vibepeak_keys.redact_logs on.",
    };
    Finding::bad(ITEM, detail, advice)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(state: Redaction, settings: &[(&str, &str, Option<&str>)]) -> (Option<bool>, String) {
        let settings: Vec<Setting> = settings
            .iter()
            .map(|(name, value, set_for)| Setting {
                name: (*name).to_owned(),
                value: (*value).to_owned(),
                set_for: set_for.map(str::to_owned),
            })
            .collect();
        let finding = redaction(state, &settings);
        assert_eq!(finding.item, "log_redaction");
        assert_eq!(finding.advice.is_none(), finding.ok == Some(true));
        (finding.ok, finding.detail)
    }

    /// Whether the setting is named where nothing is masked.
    fn named(name: &str, value: &str) -> bool {
        let (ok, detail) = found(Redaction::Off, &[(name, value, None)]);
        assert_eq!(ok, Some(false));
        detail.contains(&format!("{name} = {value}"))
    }

    #[test]
    fn settings_that_write_statements_are_named() {
        for (name, on, off) in [
            ("auto_explain.log_min_duration", &["0", "250ms"][..], &["-1"][..]),
            ("debug_print_parse", &["on", "true"], &["off", "false"]),
            ("debug_print_plan", &["on"], &["off"]),
            ("debug_print_raw_parse", &["on"], &["off"]),
            ("debug_print_rewritten", &["on"], &["off"]),
            ("log_min_duration_sample", &["0", "1s"], &["-1"]),
            ("log_min_duration_statement", &["0", "250"], &["-1"]),
            ("log_min_error_statement", &["debug5", "error", "fatal"], &["panic"]),
            ("log_parameter_max_length_on_error", &["-1", "8", "1kB"], &["0", "0B"]),
            ("log_statement", &["ddl", "mod", "all"], &["none"]),
            ("log_transaction_sample_rate", &["1", "0.01"], &["0", "0.0"]),
            ("pgaudit.log", &["all", "write, ddl"], &["none"]),
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
    fn masking_in_every_session_is_well() {
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
    fn masking_that_is_switched_off_is_not_well() {
        let off = |set_for| ("vibepeak_keys.redact_logs", "off", set_for);
        let (ok, detail) = found(Redaction::Server, &[off(Some("role service"))]);
        assert_eq!(ok, Some(false));
        assert!(detail.ends_with("vibepeak_keys.redact_logs = off (role service)"), "{detail}");
        let on = ("vibepeak_keys.redact_logs", "on", None);
        assert_eq!(found(Redaction::Server, &[on]).0, Some(true));
        let setting = |set_for| Setting {
            name: "vibepeak_keys.redact_logs".to_owned(),
            value: "off".to_owned(),
            set_for,
        };
        let advice = redaction(Redaction::Off, &[setting(None)]).advice;
        assert_eq!(advice.as_deref(), Some("Turn vibepeak_keys.redact_logs on."));
    }

    #[test]
    fn masking_in_some_sessions_is_not_well() {
        let (ok, detail) = found(Redaction::Session, &[("log_statement", "all", None)]);
        assert_eq!(ok, Some(false));
        assert!(detail.contains("only by sessions") && detail.contains("log_statement = all"));
        let (ok, detail) = found(Redaction::Off, &[("log_statement", "none", None)]);
        assert_eq!(ok, Some(false));
        assert!(detail.contains("an error message can quote a key"), "{detail}");
    }
}
