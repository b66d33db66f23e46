//! What is compared: a statement, and what it has to answer to each kind of token.

use crate::connection::Answer;

/// The tokens that a statement is called with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Tokens {
    OneKey,
    KeysInUse,
    EveryKey,
    Malformed,
    Unknown,
}

impl Tokens {
    pub const ALL: [Self; 5] =
        [Self::OneKey, Self::KeysInUse, Self::EveryKey, Self::Malformed, Self::Unknown];

    /// The query that has them, all of the same length.
    pub const fn query(self) -> &'static str {
        match self {
            Self::OneKey => "SELECT token FROM bench.one_key LIMIT 1",
            Self::KeysInUse => "SELECT token FROM bench.keys_in_use",
            Self::EveryKey => "SELECT token FROM bench.every_key",
            Self::Malformed => "SELECT token FROM bench.malformed",
            Self::Unknown => "SELECT token FROM bench.unknown",
        }
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::OneKey => "one key",
            Self::KeysInUse => "10 k keys in use",
            Self::EveryKey => "every key",
            Self::Malformed => "malformed tokens",
            Self::Unknown => "unknown keys",
        }
    }

    /// Whether each of them is a key.
    pub const fn are_keys(self) -> bool {
        matches!(self, Self::OneKey | Self::KeysInUse | Self::EveryKey)
    }
}

/// What a statement answers with.
#[derive(Clone, Copy)]
enum Kind {
    One,
    Status,
    Row,
    Boolean,
}

#[derive(Clone, Copy)]
pub struct Competitor {
    pub name: &'static str,
    /// The statement; its parameter, if it has one, is the token.
    pub sql: &'static str,
    /// What stands before the token in the parameter.
    pub scheme: &'static str,
    /// What a session is told before.
    pub setting: Option<&'static str>,
    kind: Kind,
}

impl Competitor {
    const fn new(name: &'static str, sql: &'static str, kind: Kind) -> Self {
        Self { name, sql, scheme: "", setting: None, kind }
    }

    pub const fn is_ours(&self) -> bool {
        matches!(self.kind, Kind::Status)
    }

    /// What it has to answer.
    pub const fn answer(&self, tokens: Tokens) -> Answer {
        match (self.kind, tokens.are_keys()) {
            (Kind::One, _) => Answer::Value("1"),
            (Kind::Status, true) => Answer::Value("VALID"),
            (Kind::Status, false) => Answer::Value("INVALID_API_KEY"),
            (Kind::Row, true) => Answer::Row,
            (Kind::Row, false) => Answer::Nothing,
            (Kind::Boolean, true) => Answer::Value("t"),
            (Kind::Boolean, false) => Answer::Value("f"),
        }
    }
}

pub const SELECT_1: Competitor = Competitor::new("`SELECT 1`", "SELECT 1", Kind::One);
pub const VERIFY: Competitor =
    Competitor::new("`SELECT vpk_verify($1)`", "SELECT vpk_verify($1)", Kind::Status);
pub const AUTHENTICATE: Competitor = Competitor {
    scheme: "Bearer ",
    ..Competitor::new(
        "`SELECT * FROM vpk_authenticate($1)`",
        "SELECT * FROM vpk_authenticate($1)",
        Kind::Status,
    )
};
pub const LOOK_UP: Competitor = Competitor::new(
    "look-up: `SELECT … WHERE key_hash = sha256($1)`",
    "SELECT id, account, revoked_at, expires_at FROM api_keys WHERE key_hash = sha256($1::bytea)",
    Kind::Row,
);
pub const PLPGSQL: Competitor = Competitor::new(
    "PL/pgSQL function with `digest()`",
    "SELECT api_key_is_valid($1)",
    Kind::Boolean,
);
pub const UPDATE: Competitor = Competitor::new(
    "the same with `UPDATE … last_used_at`",
    "SELECT use_api_key($1)",
    Kind::Boolean,
);
pub const UPDATE_ASYNC: Competitor = Competitor {
    name: "… and `synchronous_commit = off`",
    setting: Some("SET synchronous_commit = off"),
    ..UPDATE
};
pub const BCRYPT: Competitor = Competitor::new(
    "bcrypt, cost 6, by prefix (1000 keys)",
    "SELECT id, account, revoked_at, expires_at FROM bcrypt_api_keys \
      WHERE prefix = left($1, 16) AND key_hash = crypt($1, key_hash)",
    Kind::Row,
);
