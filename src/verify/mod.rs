//! From what a caller presented to an answer.
//!
//! Everything that reads is unguarded (see [`crate::pg::unguarded`]): the functions up to the answer
//! hold plain data only, and the JSON around an answer is made after the last read.

pub mod authenticate;
pub mod error;

use crate::pg::call::Call;
use crate::pg::types::{Bytes, Inet, Presented, Text};
use crate::pg::{clock, settings};
use crate::pure::bearer;
use crate::pure::decision::{self, Key, Request};
use crate::pure::status::Status;
use crate::pure::token::{HASH_LENGTH, Token};
use crate::store::rows::{self, StoredKey};
use crate::usage;

/// The answer to a presented key, with the key it belongs to where that is known.
#[derive(Clone, Copy)]
pub struct Answer<'call> {
    /// The answer.
    pub status: Status,
    /// The key that was presented, also where it is denied.
    pub key: Option<StoredKey<'call>>,
    /// The name of its account's plan, where that was asked for and includes API access.
    pub plan: Option<Text>,
}

impl Answer<'_> {
    const fn without_key(status: Status) -> Answer<'static> {
        Answer { status, key: None, plan: None }
    }
}

/// A request in which nothing but the key is known.
pub fn bare_request() -> Request<'static> {
    Request {
        environments: settings::environments(),
        client_ip: None,
        scope: None,
        now: clock::now().micros(),
    }
}

/// Judges a token as it was presented, and notes the answer.
pub fn token<'call>(call: &'call Call, token: Option<Text>, request: &Request) -> Answer<'call> {
    noted(judge(call, token, request, false), request)
}

/// Judges a token as it was presented.
pub fn judge<'call>(
    call: &'call Call,
    token: Option<Text>,
    request: &Request,
    with_details: bool,
) -> Answer<'call> {
    match token.map(|token| token.presented(call, bearer::MAX_LENGTH)) {
        None => Answer::without_key(Status::MissingApiKey),
        Some(Presented { bytes, cut: false }) => credential(call, bytes, request, with_details),
        Some(Presented { bytes, cut: true }) => Answer::without_key(blank_or_invalid(bytes)),
    }
}

/// Judges the value of an `Authorization` header, and notes the answer.
pub fn header<'call>(call: &'call Call, header: Option<Text>, request: &Request) -> Answer<'call> {
    noted(judge_header(call, header, request), request)
}

fn judge_header<'call>(
    call: &'call Call,
    header: Option<Text>,
    request: &Request,
) -> Answer<'call> {
    let Some(header) = header.map(|header| header.presented(call, bearer::MAX_LENGTH)) else {
        return Answer::without_key(Status::MissingApiKey);
    };
    match bearer::credential(header.bytes) {
        None => Answer::without_key(Status::MissingApiKey),
        Some(_) if header.cut => Answer::without_key(Status::InvalidApiKey),
        Some(bytes) => credential(call, bytes, request, true),
    }
}

/// Judges a key by its SHA-256, and notes the answer.
pub fn hash<'call>(call: &'call Call, hash: Option<Bytes>, request: &Request) -> Answer<'call> {
    noted(judge_hash(call, hash, request), request)
}

fn judge_hash<'call>(call: &'call Call, hash: Option<Bytes>, request: &Request) -> Answer<'call> {
    match hash.map(|hash| hash.presented(call, HASH_LENGTH)) {
        None | Some(Presented { bytes: [], .. }) => Answer::without_key(Status::MissingApiKey),
        Some(Presented { bytes, cut: false }) if bytes.len() == HASH_LENGTH => {
            stored(call, bytes, request, false)
        }
        Some(_) => Answer::without_key(Status::InvalidApiKey),
    }
}

/// Notes an answer: see [`crate::usage`].
fn noted<'call>(answer: Answer<'call>, request: &Request) -> Answer<'call> {
    usage::note(answer.status, answer.key.as_ref().map(|key| &key.id), request.now);
    answer
}

/// The client's address as the decision wants it.
pub fn client(address: Option<Inet>) -> Option<crate::pure::address::Network> {
    address.map(Inet::network)
}

fn credential<'call>(
    call: &'call Call,
    bytes: &[u8],
    request: &Request,
    with_details: bool,
) -> Answer<'call> {
    match Token::parse(bytes) {
        Some(token) => stored(call, &token.hash(), request, with_details),
        None => Answer::without_key(blank_or_invalid(bytes)),
    }
}

fn blank_or_invalid(bytes: &[u8]) -> Status {
    if bearer::is_blank(bytes) { Status::MissingApiKey } else { Status::InvalidApiKey }
}

fn stored<'call>(
    call: &'call Call,
    hash: &[u8],
    request: &Request,
    with_details: bool,
) -> Answer<'call> {
    rows::now(call, |instant| {
        let Some(key) = instant.key(hash, with_details)? else {
            return Ok(Answer::without_key(Status::InvalidApiKey));
        };
        let api_access = instant.has_access(key.account)?;
        let plan = if with_details && api_access { instant.plan_of(key.account)? } else { None };
        let status = key.environment.map_or(Status::InvalidApiKey, |environment| {
            let key = Key {
                environment,
                revoked: key.revoked,
                expires_at: key.expires_at,
                disabled: key.disabled,
                allowed_ips: key.allowed_ips,
                scopes: key.details.map_or(&[], |details| details.scopes),
                api_access,
            };
            decision::decide(&key, request)
        });
        Ok(Answer { status, key: Some(key), plan })
    })
}
