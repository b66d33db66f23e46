//! Which competitors meet, and where.

use std::fmt;

use crate::competitors::{
    AUTHENTICATE, BCRYPT, Competitor, LOOK_UP, PLPGSQL, SELECT_1, Tokens, UPDATE, UPDATE_ASYNC,
    VERIFY,
};

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Parsed once in a session, then bound and executed.
    Prepared,
    /// Parsed for every call, with its parameter apart.
    Extended,
    /// The token stands in the text of the statement.
    Simple,
}

/// Competitors that take turns under the same conditions. The first is what the others are
/// compared with.
#[derive(Clone, Copy)]
pub struct Group {
    pub protocol: Protocol,
    pub clients: usize,
    pub tokens: Tokens,
    pub competitors: &'static [Competitor],
    /// Whether the processors are kept from sleeping.
    pub awake: bool,
}

impl Group {
    const fn new(
        protocol: Protocol,
        clients: usize,
        tokens: Tokens,
        competitors: &'static [Competitor],
    ) -> Self {
        Self { protocol, clients, tokens, competitors, awake: true }
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let protocol = match self.protocol {
            Protocol::Prepared => "prepared",
            Protocol::Extended => "extended",
            Protocol::Simple => "simple",
        };
        let clients = if self.clients == 1 { "client" } else { "clients" };
        write!(f, "{protocol}, {} {clients}, {}", self.clients, self.tokens.name())?;
        if self.awake { Ok(()) } else { f.write_str(", processors left to sleep") }
    }
}

use Protocol::{Extended, Prepared, Simple};
use Tokens::{EveryKey, KeysInUse, Malformed, OneKey, Unknown};

const EVERYTHING: &[Competitor] =
    &[SELECT_1, VERIFY, AUTHENTICATE, LOOK_UP, PLPGSQL, UPDATE, UPDATE_ASYNC, BCRYPT];
const ANY_NUMBER: &[Competitor] = &[SELECT_1, VERIFY, AUTHENTICATE, LOOK_UP, PLPGSQL, UPDATE];
const READING: &[Competitor] = &[SELECT_1, VERIFY, AUTHENTICATE, LOOK_UP, PLPGSQL];
const BARE: &[Competitor] = &[SELECT_1, VERIFY, LOOK_UP];

pub const GROUPS: [Group; 12] = [
    Group::new(Prepared, 1, OneKey, EVERYTHING),
    Group::new(Prepared, 1, KeysInUse, ANY_NUMBER),
    Group::new(Prepared, 1, EveryKey, ANY_NUMBER),
    Group::new(Prepared, 1, Malformed, READING),
    Group::new(Prepared, 1, Unknown, READING),
    Group::new(Prepared, 8, OneKey, ANY_NUMBER),
    Group::new(Prepared, 8, KeysInUse, ANY_NUMBER),
    Group::new(Extended, 1, KeysInUse, READING),
    Group::new(Extended, 8, KeysInUse, BARE),
    Group::new(Simple, 1, KeysInUse, READING),
    Group::new(Simple, 8, KeysInUse, BARE),
    Group { awake: false, ..Group::new(Prepared, 1, KeysInUse, BARE) },
];

/// The groups whose names have one of these in them, words between commas; all for none.
pub fn chosen(wanted: &str) -> Vec<Group> {
    let wanted: Vec<&str> = wanted.split(';').map(str::trim).filter(|w| !w.is_empty()).collect();
    let is_wanted = |group: &&Group| {
        let name = group.to_string();
        wanted.is_empty() || wanted.iter().any(|wanted| name.contains(wanted))
    };
    GROUPS.iter().filter(is_wanted).copied().collect()
}
