//! Who acts through the role that calls.

use super::arguments;
use crate::pg::call::Call;
use crate::pg::server::settings;
use crate::pg::types::Text;
use crate::pg::types::encoding::shown_here;

/// The actor of this call, as an event keeps it: cut to its maximum length, and with keys in it
/// redacted. None where the application does not say. Nothing has checked the encoding of a setting
/// that came with the connection.
pub fn of_call(call: &Call) -> Option<Text> {
    let actor = shown_here(settings::actor().to_bytes().to_vec());
    arguments::kept_reason(call, Some(Text::new(call, &actor)))
}
