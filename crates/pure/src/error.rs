//! The error of a call that cannot be carried out: what was wrong, and what to do.

use core::fmt::{self, Display};

use crate::key::redact;

/// A refusal to carry out a call, in the style of PostgreSQL's messages: a primary message without
/// a full stop, and detail and hint in whole sentences. `Display` shows the primary message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallError {
    /// What kind of refusal it is.
    pub condition: Condition,
    /// What was wrong.
    pub message: String,
    /// The facts of the case.
    pub detail: Option<String>,
    /// What to do.
    pub hint: Option<String>,
}

/// The condition that an SQLSTATE names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// 22023: a bad argument or an unknown id.
    InvalidParameterValue,
    /// 55000: the server, or the session, is not in the state for it.
    ObjectNotInPrerequisiteState,
    /// 55P03: another session is doing it.
    LockNotAvailable,
    /// 42501: the caller, or the extension's owner, may not do it.
    InsufficientPrivilege,
    /// 23505: it exists already.
    UniqueViolation,
}

impl CallError {
    /// A bad argument or an unknown id.
    pub fn invalid(message: impl Into<String>) -> CallError {
        CallError::of(Condition::InvalidParameterValue, message)
    }

    /// What would exist twice.
    pub fn duplicate(message: impl Into<String>) -> CallError {
        CallError::of(Condition::UniqueViolation, message)
    }

    /// A call on the wrong server, or before the call that it needs.
    pub fn out_of_place(message: impl Into<String>) -> CallError {
        CallError::of(Condition::ObjectNotInPrerequisiteState, message)
    }

    /// A call that must wait for another session.
    pub fn busy(message: impl Into<String>) -> CallError {
        CallError::of(Condition::LockNotAvailable, message)
    }

    /// A call that the caller, or the extension's owner, may not carry out.
    pub fn denied(message: impl Into<String>) -> CallError {
        CallError::of(Condition::InsufficientPrivilege, message)
    }

    fn of(condition: Condition, message: impl Into<String>) -> CallError {
        CallError { condition, message: message.into(), detail: None, hint: None }
    }

    /// Adds the facts of the case.
    pub fn detail(self, detail: impl Into<String>) -> CallError {
        CallError { detail: Some(detail.into()), ..self }
    }

    /// Adds what to do.
    pub fn hint(self, hint: impl Into<String>) -> CallError {
        CallError { hint: Some(hint.into()), ..self }
    }
}

/// The value of an argument that must not be null.
pub fn required<T>(what: &str, value: Option<T>) -> Result<T, CallError> {
    value.ok_or_else(|| {
        CallError::invalid(format!("{what} must not be null")).hint(format!(
            "Pass a value for {what}, or leave the argument out if it has a default."
        ))
    })
}

/// A caller's value for a message: quoted, with keys redacted, and shortened to 64 characters.
pub fn quoted(value: &[u8]) -> String {
    let mut shown = value.to_vec();
    redact::redact_value(&mut shown);
    let text = readable(shown);
    let short: String = text.chars().take(64).collect();
    let cut = if short.len() < text.len() { "..." } else { "" };
    format!("\"{short}{cut}\"")
}

/// The server's text for a message. A text that is not UTF-8 has another server encoding, in which
/// a single byte may not be a character.
pub fn readable(text: Vec<u8>) -> String {
    String::from_utf8(text).unwrap_or_else(|error| {
        let bytes = error.into_bytes();
        bytes.into_iter().map(|byte| if byte.is_ascii() { char::from(byte) } else { '?' }).collect()
    })
}

impl Display for CallError {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl core::error::Error for CallError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_shows_its_message() {
        let error = CallError::invalid("invalid scope").detail("It is null.").hint("Remove it.");
        assert_eq!(error.to_string(), "invalid scope");
    }

    #[test]
    fn a_value_is_shown_without_a_key() {
        assert_eq!(quoted(b"acme"), "\"acme\"");
        assert_eq!(quoted(b"vpk_live_aaaaaaaaaaaa"), "\"vpk_live_aaaa********\"");
        assert_eq!(quoted(&[b'a'; 70]), format!("\"{}...\"", "a".repeat(64)));
    }
}
