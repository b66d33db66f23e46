//! What is compared: a statement, and what it has to answer to each kind of token.

use crate::connection::Answer;

/// The tokens that a statement is called with.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub enum Tokens {
    OneKey,
    KeysInUse,
    EveryKey,
    Malformed,
    Unknown,
}

impl Tokens {
    /// The query that has them, all of the same length.
    const fn query(self) -> &'static str {
        match self {
            Self::OneKey => "SELECT token FROM bench.one_key LIMIT 1",
            Self::KeysInUse => "SELECT token FROM bench.keys_in_use",
            Self::EveryKey => "SELECT token FROM bench.every_key",
            Self::Malformed => "SELECT token FROM bench.malformed",
            Self::Unknown => "SELECT token FROM bench.unknown",
        }
    }

    /// The query for what a competitor is given of them.
    pub fn query_for(self, competitor: &Competitor) -> String {
        let query = self.query();
        if competitor.hashed {
            format!("SELECT encode(sha256(token::bytea), 'hex') FROM ({query}) AS t")
        } else {
            query.to_owned()
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
pub enum Kind {
    One,
    /// The status of a valid key, for every token.
    Constant,
    Status,
    Row,
    Boolean,
}

#[derive(Clone, Copy)]
pub struct Competitor {
    pub name: &'static str,
    /// The name in a sentence.
    pub short: &'static str,
    /// The statement; its parameter, if it has one, is the token.
    pub sql: &'static str,
    /// What stands before the token in the parameter.
    pub scheme: &'static str,
    /// Whether the parameter is the token's hash instead.
    pub hashed: bool,
    /// What a session is told before.
    pub setting: Option<&'static str>,
    kind: Kind,
}

impl Competitor {
    pub const fn new(name: &'static str, sql: &'static str, kind: Kind) -> Self {
        Self { name, short: name, sql, scheme: "", hashed: false, setting: None, kind }
    }

    pub const fn is_ours(&self) -> bool {
        matches!(self.kind, Kind::Status)
    }

    /// What it has to answer.
    pub const fn answer(&self, tokens: Tokens) -> Answer {
        match (self.kind, tokens.are_keys()) {
            (Kind::One, _) => Answer::Value("1"),
            (Kind::Constant, _) | (Kind::Status, true) => Answer::Value("VALID"),
            (Kind::Status, false) => Answer::Value("INVALID_API_KEY"),
            (Kind::Row, true) => Answer::Row,
            (Kind::Row, false) => Answer::Nothing,
            (Kind::Boolean, true) => Answer::Value("t"),
            (Kind::Boolean, false) => Answer::Value("f"),
        }
    }
}

pub const SELECT_1: Competitor = Competitor::new("`SELECT 1`", "SELECT 1", Kind::One);
pub const VERIFY: Competitor = Competitor {
    short: "`vpk_verify`",
    ..Competitor::new("`SELECT vpk_verify($1)`", "SELECT vpk_verify($1)", Kind::Status)
};
pub const AUTHENTICATE: Competitor = Competitor {
    short: "`vpk_authenticate`",
    scheme: "Bearer ",
    ..Competitor::new(
        "`SELECT * FROM vpk_authenticate($1)`",
        "SELECT * FROM vpk_authenticate($1)",
        Kind::Status,
    )
};

/// A row with the columns of vpk_authenticate, and with its values for a key, without a function.
pub const CONSTANT: Competitor = Competitor {
    short: "the constant row",
    ..Competitor::new(
        "floor: a constant row of its 13 columns",
        "SELECT 'VALID'::vpk.vpk_status AS status, 200 AS http_status, \
            '01900000-0000-7000-8000-000000000000'::uuid AS key_id, 'key 100000' AS key_name, \
            'default' AS account, 'Pro' AS plan, 'live' AS environment, '{}'::text[] AS scopes, \
            '{}'::jsonb AS metadata, NULL::timestamptz AS expires_at, \
            'req_000000000000000000000000' AS request_id, '{}'::jsonb AS headers, \
            NULL::jsonb AS error",
        Kind::Constant,
    )
};
/// A function that takes the arguments of vpk_authenticate and returns that row.
pub const EMPTY: Competitor = Competitor {
    short: "the empty function",
    scheme: "Bearer ",
    ..Competitor::new(
        "floor: a C function in FROM that returns that row",
        "SELECT * FROM empty_answer($1)",
        Kind::Constant,
    )
};
/// What a team writes that wants to know the same from tables of its own.
macro_rules! careful {
    ($hash:literal) => {
        concat!(
            "SELECT k.id, k.name, k.account, a.plan, k.environment, k.scopes, k.metadata, \
                    k.expires_at, k.revoked_at, k.disabled_at, p.api_access \
               FROM keys AS k JOIN accounts AS a ON a.account = k.account \
               JOIN plans AS p ON p.plan = a.plan \
              WHERE k.key_hash = ",
            $hash
        )
    };
}

pub const CAREFUL: Competitor = Competitor {
    short: "the careful query",
    ..Competitor::new(
        "careful query: keys, accounts and plans by `sha256($1)`",
        careful!("sha256($1::bytea)"),
        Kind::Row,
    )
};
/// The application has hashed the token. This client has done so before it began.
pub const CAREFUL_HASHED: Competitor = Competitor {
    scheme: "\\x",
    hashed: true,
    ..Competitor::new("the same, `key_hash = $1`, hashed beforehand", careful!("$1"), Kind::Row)
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
