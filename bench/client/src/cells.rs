//! Which competitors meet, and where.

use std::fmt;

use crate::competitors::{
    AUTHENTICATE, BCRYPT, CAREFUL, CAREFUL_HASHED, CONSTANT, Competitor, EMPTY, LOOK_UP, PLPGSQL,
    SELECT_1, Tokens, UPDATE, UPDATE_ASYNC, VERIFY,
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
    /// Whether another client writes meanwhile.
    pub at_work: bool,
}

impl Group {
    const fn new(
        protocol: Protocol,
        clients: usize,
        tokens: Tokens,
        competitors: &'static [Competitor],
    ) -> Self {
        Self { protocol, clients, tokens, competitors, awake: true, at_work: false }
    }

    /// Whether it is one of those for which the shares and times of [`crate::reach`] are aims.
    pub const fn has_floors(&self) -> bool {
        matches!(self.protocol, Protocol::Prepared)
            && matches!(self.tokens, Tokens::OneKey | Tokens::KeysInUse)
            && self.awake
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
        let state = if self.at_work { "at work" } else { "idle" };
        write!(f, "{protocol}, {} {clients}, {}, {state}", self.clients, self.tokens.name())?;
        if self.awake { Ok(()) } else { f.write_str(", processors left to sleep") }
    }
}

use Protocol::{Extended, Prepared, Simple};
use Tokens::{EveryKey, KeysInUse, Malformed, OneKey, Unknown};

const EVERYTHING: &[Competitor] = &[
    SELECT_1,
    VERIFY,
    CONSTANT,
    EMPTY,
    AUTHENTICATE,
    CAREFUL,
    CAREFUL_HASHED,
    LOOK_UP,
    PLPGSQL,
    UPDATE,
    UPDATE_ASYNC,
    BCRYPT,
];
const IN_USE: &[Competitor] = &[
    SELECT_1,
    VERIFY,
    CONSTANT,
    EMPTY,
    AUTHENTICATE,
    CAREFUL,
    CAREFUL_HASHED,
    LOOK_UP,
    PLPGSQL,
    UPDATE,
];
const ANY_NUMBER: &[Competitor] =
    &[SELECT_1, VERIFY, AUTHENTICATE, CAREFUL, LOOK_UP, PLPGSQL, UPDATE];
const READING: &[Competitor] = &[SELECT_1, VERIFY, AUTHENTICATE, CAREFUL, LOOK_UP, PLPGSQL];
const BARE: &[Competitor] = &[SELECT_1, VERIFY, AUTHENTICATE, CAREFUL, LOOK_UP];
const FLOORS: &[Competitor] =
    &[SELECT_1, VERIFY, CONSTANT, EMPTY, AUTHENTICATE, CAREFUL, CAREFUL_HASHED];

const IDLE: [Group; 12] = [
    Group::new(Prepared, 1, OneKey, EVERYTHING),
    Group::new(Prepared, 1, KeysInUse, IN_USE),
    Group::new(Prepared, 1, EveryKey, ANY_NUMBER),
    Group::new(Prepared, 1, Malformed, READING),
    Group::new(Prepared, 1, Unknown, READING),
    Group::new(Prepared, 8, OneKey, IN_USE),
    Group::new(Prepared, 8, KeysInUse, IN_USE),
    Group::new(Extended, 1, KeysInUse, READING),
    Group::new(Extended, 8, KeysInUse, BARE),
    Group::new(Simple, 1, KeysInUse, READING),
    Group::new(Simple, 8, KeysInUse, BARE),
    Group { awake: false, ..Group::new(Prepared, 1, KeysInUse, BARE) },
];

/// All groups. Each is there twice: idle and at work, except where the machine is to be idle.
pub fn all() -> Vec<Group> {
    let twice = |group: &Group| {
        let working = group.awake.then_some(Group { at_work: true, ..*group });
        [Some(*group), working].into_iter().flatten()
    };
    IDLE.iter().flat_map(twice).collect()
}

/// Those with floors, with only the competitors that matter for these.
pub fn with_floors() -> Vec<Group> {
    let with_floors = all().into_iter().filter(Group::has_floors);
    with_floors.map(|group| Group { competitors: FLOORS, ..group }).collect()
}

/// Whether a name has one of the wanted texts in it, which semicolons separate; none is all.
pub fn is_wanted(name: &str, wanted: &str) -> bool {
    let mut wanted = wanted.split(';').map(str::trim).filter(|text| !text.is_empty()).peekable();
    wanted.peek().is_none() || wanted.any(|text| name.contains(text))
}
