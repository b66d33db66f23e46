//! Who acts through the role that calls.

use super::arguments;
use crate::pg::call::Call;
use crate::pg::server::settings;
use crate::pg::types::Text;

/// The actor of this call, as an event keeps it: cut to its maximum length, and with keys in it
/// redacted. None where the application does not say.
pub fn of_call(call: &Call) -> Option<Text> {
    arguments::kept_reason(call, Some(Text::new(call, settings::actor().to_bytes())))
}
