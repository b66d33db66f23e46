//! Environments: production and test, kept apart by the key's label.

use crate::white_space::trimmed;

/// Length of the label, in bytes.
pub(super) const LABEL_LENGTH: usize = 9;

/// The environment that a key belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Environment {
    /// Production.
    Live = 1,
    /// Development and tests.
    Test = 2,
}

impl Environment {
    /// Both, in the order in which messages name them.
    pub const ALL: [Environment; 2] = [Environment::Live, Environment::Test];

    /// Its name in SQL and inside a key.
    pub const fn name(self) -> &'static str {
        match self {
            Environment::Live => "live",
            Environment::Test => "test",
        }
    }

    /// The environment of a name, if it is one.
    pub fn from_name(name: &[u8]) -> Option<Environment> {
        Environment::ALL.into_iter().find(|e| e.name().as_bytes() == name)
    }

    /// The label: every key of the environment begins with it.
    pub(super) const fn label(self) -> &'static [u8; LABEL_LENGTH] {
        match self {
            Environment::Live => b"vpk_live_",
            Environment::Test => b"vpk_test_",
        }
    }
}

/// A set of environments: those whose keys a database accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Environments(u8);

impl Environments {
    /// Both environments.
    pub const ALL: Environments = Environments(Environment::Live as u8 | Environment::Test as u8);

    /// Reads a comma-separated list, as `vibepeak_keys.environments` holds it.
    pub fn parse(list: &[u8]) -> Option<Environments> {
        list.split(|b| *b == b',').try_fold(Environments::default(), |set, name| {
            Some(Environments(set.0 | Environment::from_name(trimmed(name))? as u8))
        })
    }

    /// Whether the environment is in the set.
    pub fn contains(self, environment: Environment) -> bool {
        self.0 & environment as u8 != 0
    }

    /// The set reduced to this environment, or the empty set if it is not in there.
    pub fn only(self, environment: Environment) -> Environments {
        Environments(self.0 & environment as u8)
    }

    /// The set as bits, for memory that holds plain numbers.
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// The set of such bits; unknown bits are dropped.
    pub const fn from_bits(bits: u8) -> Environments {
        Environments(bits & Environments::ALL.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_environments() {
        assert_eq!(Environments::parse(b"live,test"), Some(Environments::ALL));
        assert_eq!(Environments::parse(b" live "), Some(Environments(1)));
        assert_eq!(Environments::parse(b"staging"), None);
        assert_eq!(Environments::parse(b""), None);
        assert_eq!(Environments::parse(b"live,"), None);
    }
}
