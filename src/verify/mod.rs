//! From what a caller presented to an answer.
//!
//! Everything that reads is unguarded (see [`crate::pg::ffi::unguarded`]): the functions up to the answer
//! hold plain data only, and the JSON around an answer is made after the last read.

pub mod authenticate;
pub mod body;

use pure::answer::decision::{self, Request};
use pure::answer::status::Status;
use pure::key::token::{HASH_LENGTH, Token};
use pure::request::authorization;

use crate::pg::call::Call;
use crate::pg::server::{clock, settings};
use crate::pg::types::{Bytes, Inet, Presented, Text};
use crate::store::lookup::{self, StoredKey};
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

/// The status of a token as it was presented. Notes it.
pub fn token(call: &Call, token: Option<Text>, request: &Request) -> Status {
    noted_status(token_hash(call, token), request, call)
}

/// The status of a key by its SHA-256. Notes it.
pub fn hash(call: &Call, hash: Option<Bytes>, request: &Request) -> Status {
    let hash = match hash.map(|hash| hash.presented_unguarded(call, HASH_LENGTH)) {
        None | Some(Presented { bytes: [], .. }) => Err(Status::MissingApiKey),
        Some(Presented { bytes, cut: false }) => {
            bytes.try_into().map_err(|_| Status::InvalidApiKey)
        }
        Some(_) => Err(Status::InvalidApiKey),
    };
    noted_status(hash, request, call)
}

fn noted_status(hash: Result<Hash, Status>, request: &Request, call: &Call) -> Status {
    let (status, id) = match hash {
        Ok(hash) => stored_status(call, &hash, request),
        Err(status) => (status, None),
    };
    usage::note(status, id.as_ref(), request.now);
    status
}

/// Judges a token as it was presented.
pub fn judge<'call>(
    call: &'call Call,
    token: Option<Text>,
    request: &Request,
    with_details: bool,
) -> Answer<'call> {
    stored(call, token_hash(call, token), request, with_details)
}

/// Judges the value of an `Authorization` header, and notes the answer.
pub fn header<'call>(call: &'call Call, header: Option<Text>, request: &Request) -> Answer<'call> {
    let answer = stored(call, header_hash(call, header), request, true);
    usage::note(answer.status, answer.key.as_ref().map(|key| &key.id), request.now);
    answer
}

/// The client's address as the decision wants it.
pub fn client_network(address: Option<Inet>) -> Option<pure::request::network::Network> {
    address.map(Inet::network_unguarded)
}

/// The SHA-256 of a key.
type Hash = [u8; HASH_LENGTH];

/// The hash of a token, or what is wrong with it.
fn token_hash(call: &Call, token: Option<Text>) -> Result<Hash, Status> {
    match token.map(|token| token.presented_unguarded(call, authorization::MAX_LENGTH)) {
        None => Err(Status::MissingApiKey),
        Some(Presented { bytes, cut: false }) => credential_hash(bytes),
        Some(Presented { bytes, cut: true }) => Err(blank_or_invalid(bytes)),
    }
}

/// The hash of the token in a header, or what is wrong with it.
fn header_hash(call: &Call, header: Option<Text>) -> Result<Hash, Status> {
    let Some(header) =
        header.map(|header| header.presented_unguarded(call, authorization::MAX_LENGTH))
    else {
        return Err(Status::MissingApiKey);
    };
    match authorization::credential(header.bytes) {
        None => Err(Status::MissingApiKey),
        Some(_) if header.cut => Err(Status::InvalidApiKey),
        Some(bytes) => credential_hash(bytes),
    }
}

fn credential_hash(bytes: &[u8]) -> Result<Hash, Status> {
    let token = Token::parse(bytes).ok_or_else(|| blank_or_invalid(bytes))?;
    Ok(token.hash())
}

fn blank_or_invalid(bytes: &[u8]) -> Status {
    if authorization::is_blank(bytes) { Status::MissingApiKey } else { Status::InvalidApiKey }
}

/// The status of a key by its hash, with the id of the key it belongs to.
fn stored_status(call: &Call, hash: &Hash, request: &Request) -> (Status, Option<[u8; 16]>) {
    lookup::now(call, |tables| {
        let epoch = tables.epoch();
        if let Some(seen) = epoch.and_then(|epoch| tables.seen(epoch, hash)) {
            return Ok((decision::decide(&seen.key(), request), Some(seen.id)));
        }
        let Some(key) = tables.key(hash, false)? else {
            return Ok((Status::InvalidApiKey, None));
        };
        let api_access = tables.has_access(key.account)?;
        if let (Some(epoch), Some(seen)) = (epoch, key.seen(api_access)) {
            tables.remember(epoch, hash, seen);
        }
        Ok((key.judge(api_access, request), Some(key.id)))
    })
}

/// Judges a key by its hash.
fn stored<'call>(
    call: &'call Call,
    hash: Result<Hash, Status>,
    request: &Request,
    with_details: bool,
) -> Answer<'call> {
    let hash = match hash {
        Ok(hash) => hash,
        Err(status) => return Answer::without_key(status),
    };
    lookup::now(call, |tables| {
        let Some(key) = tables.key(&hash, with_details)? else {
            return Ok(Answer::without_key(Status::InvalidApiKey));
        };
        let api_access = tables.has_access(key.account)?;
        let plan = if with_details && api_access { tables.plan_of(key.account)? } else { None };
        Ok(Answer { status: key.judge(api_access, request), key: Some(key), plan })
    })
}
