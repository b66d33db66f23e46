//! From a token, hash or header that a caller presented to an answer.
//!
//! An answer takes four steps: find the credential (in a header by
//! [`pure::request::authorization`], which knows the accepted schemes), look the key up
//! ([`crate::store::lookup`]), decide ([`pure::answer::decision`]), and note the use.
//!
//! Every function that reads is unguarded (see [`crate::pg::ffi::unguarded`]): up to the decision,
//! functions hold plain data only. The JSON of an answer is made after the last read.

pub mod authenticate;
pub mod body;

use pure::answer::decision::{self, Key, Request};
use pure::answer::status::Status;
use pure::instant::Micros;
use pure::key::environment::{Environment, Environments};
use pure::key::token::{HASH_LENGTH, Token};
use pure::request::{authorization, client_ip};
use pure::white_space::is_blank;

use crate::limits::decide::{self, Decision};
use crate::limits::invalid_keys;
use crate::limits::subject::Subject;
use crate::pg::call::Call;
use crate::pg::server::{clock, settings};
use crate::pg::types::{Bytes, Inet, Presented, Text};
use crate::store::lookup::{self, Limits, StoredKey};
use crate::usage;

/// The answer to a presented credential.
#[derive(Clone, Copy)]
pub struct Answer<'call> {
    /// The result of the verification.
    pub status: Status,
    /// The key that was presented, even where it is refused; None where there is no such key.
    pub key: Option<StoredKey<'call>>,
    /// The name of its account's plan. None where details were not asked for, or where the plan
    /// does not include API access.
    pub plan: Option<Text>,
    /// What limits its calls; None where nothing does.
    pub limits: Option<&'call Limits<'call>>,
    /// What the limits have said to the call, where they were asked for details.
    pub decision: Option<&'call Decision<'call>>,
}

/// What a caller says of a request, beside the credential.
pub struct RequestOptions {
    /// The scope that the request needs; None if it needs no scope.
    pub scope: Option<Text>,
    /// The address of the client; None is unknown.
    pub client_ip: Option<Inet>,
    /// An id for the answer to repeat; None asks for a new one.
    pub request_id: Option<Text>,
    /// The name of the only environment whose keys are accepted; None is all of the setting.
    pub environment: Option<Text>,
}

impl RequestOptions {
    /// The request, as the decision takes it. Unguarded: see [`crate::pg::ffi::unguarded`].
    pub fn request_unguarded<'call>(&self, call: &'call Call) -> Request<'call> {
        // A scope is short (see pure::validate::MAX_SCOPE_BYTES); no key has a longer one. The same
        // is true of an environment.
        let bytes = |text: Text| text.presented_unguarded(call, authorization::MAX_LENGTH).bytes;
        let here = settings::environments();
        Request {
            environments: match self.environment.map(|name| Environment::from_name(bytes(name))) {
                None => here,
                Some(Some(environment)) => here.only(environment),
                Some(None) => Environments::default(),
            },
            client_ip: client_network(self.client_ip),
            scope: self.scope.map(bytes),
            now: clock::now().micros(),
        }
    }
}

impl<'call> Answer<'call> {
    /// Whose limits count the call; None where the key is refused, or where nothing is limited.
    #[inline]
    pub fn subject_unguarded(&self, call: &'call Call) -> Option<Subject<'call>> {
        let limits = self.limits.filter(|_| self.status == Status::Valid)?;
        let key = self.key.as_ref()?;
        let account = key.account.bytes_unguarded(call);
        Some(Subject { account, key: Some(key.id), limits })
    }

    /// The answer, where limits have decided on it.
    pub fn decided(
        self,
        call: &'call Call,
        decision: Option<Decision<'call>>,
        with_details: bool,
    ) -> Answer<'call> {
        let Some(decision) = decision else { return self };
        let status = decision.status;
        if !with_details {
            return Answer { status, ..self };
        }
        let decision = call.keep_unguarded([decision].iter().copied()).first();
        Answer { status, decision, ..self }
    }

    const fn without_key(status: Status) -> Answer<'static> {
        Answer { status, key: None, plan: None, limits: None, decision: None }
    }
}

/// A request that says nothing but which key is presented.
pub fn bare_request() -> Request<'static> {
    Request {
        environments: settings::environments(),
        client_ip: None,
        scope: None,
        now: clock::now().micros(),
    }
}

/// Verifies a token as it was presented, and notes the answer.
pub fn token(call: &Call, token: Option<Text>, request: &Request) -> Status {
    concluded(call, unnoted(call, token, request, false), request, 1, false).status
}

/// Verifies a key by its SHA-256, and notes the answer.
pub fn hash(call: &Call, hash: Option<Bytes>, request: &Request) -> Status {
    let hash = match hash.map(|hash| hash.presented_unguarded(call, HASH_LENGTH)) {
        None | Some(Presented { bytes: [], .. }) => Err(Status::MissingApiKey),
        Some(Presented { bytes, cut: false }) => {
            bytes.try_into().map_err(|_| Status::InvalidApiKey)
        }
        Some(_) => Err(Status::InvalidApiKey),
    };
    concluded(call, stored(call, hash, request, false), request, 1, false).status
}

/// The last steps of an answer: asks what consumes something, and notes the answer.
///
/// Rate limits are asked only where the decision is VALID, since the decision itself has no side
/// effects. The limit of concurrent tasks is asked by [`crate::tasks`]. The limit of invalid keys
/// is the one exception: it is asked where the decision is INVALID_API_KEY.
#[inline]
fn concluded<'call>(
    call: &'call Call,
    answer: Answer<'call>,
    request: &Request,
    cost: u32,
    with_details: bool,
) -> Answer<'call> {
    let answer = match answer.status {
        Status::Valid if answer.limits.is_some() => {
            charged(call, answer, request.now, cost, with_details)
        }
        Status::InvalidApiKey => unless_too_many(call, answer, request, with_details),
        _ => answer,
    };
    usage::note(answer.status, answer.key.as_ref().map(|key| &key.id), request.now);
    answer
}

/// The answer to a call after its limits were asked and charged.
#[inline(never)]
fn charged<'call>(
    call: &'call Call,
    answer: Answer<'call>,
    now: Micros,
    cost: u32,
    with_details: bool,
) -> Answer<'call> {
    let Some(subject) = answer.subject_unguarded(call) else { return answer };
    if with_details {
        return answer.decided(call, decide::charge(call, &subject, cost, now), true);
    }
    let status = decide::charge_for_status(call, &subject, cost, now).unwrap_or(answer.status);
    Answer { status, ..answer }
}

/// The answer to a request with an invalid key, unless too many have come from its address. A key
/// that exists is not counted, whatever it is refused for.
pub fn unless_too_many<'call>(
    call: &'call Call,
    answer: Answer<'call>,
    request: &Request,
    with_details: bool,
) -> Answer<'call> {
    let is_invalid = answer.status == Status::InvalidApiKey && answer.key.is_none();
    let decision = request.client_ip.filter(|_| is_invalid).and_then(invalid_keys::charge);
    answer.decided(call, decision, with_details)
}

/// Verifies a token as it was presented, without asking what consumes something, and without noting
/// the answer.
pub fn unnoted<'call>(
    call: &'call Call,
    token: Option<Text>,
    request: &Request,
    with_details: bool,
) -> Answer<'call> {
    stored(call, token_hash(call, token), request, with_details)
}

/// Verifies the credential in the value of an `Authorization` header, charges what the call costs,
/// and notes the answer.
pub fn header<'call>(
    call: &'call Call,
    header: Option<Text>,
    request: &Request,
    cost: u32,
) -> Answer<'call> {
    concluded(call, stored(call, header_hash(call, header), request, true), request, cost, true)
}

/// The client's address in the value of a header, which nobody has to trust; None where it has no
/// address in the right place, or is longer than any header.
pub fn client_ip(call: &Call, value: Text) -> Option<Inet> {
    let value = value.presented_unguarded(call, authorization::MAX_LENGTH);
    let address = if value.cut { None } else { client_ip::client_ip(value.bytes) };
    address.map(|address| Inet::new_unguarded(call, address))
}

/// The client's address, in the form that the decision takes.
pub fn client_network(address: Option<Inet>) -> Option<pure::request::network::Network> {
    address.map(Inet::network_unguarded)
}

/// The SHA-256 of a key.
type Hash = [u8; HASH_LENGTH];

/// The hash of a token, or the status that refuses it.
fn token_hash(call: &Call, token: Option<Text>) -> Result<Hash, Status> {
    match token.map(|token| token.presented_unguarded(call, authorization::MAX_LENGTH)) {
        None => Err(Status::MissingApiKey),
        Some(Presented { bytes, cut: false }) => credential_hash(bytes),
        Some(Presented { bytes, cut: true }) => Err(blank_or_invalid(bytes)),
    }
}

/// The hash of the token in a header, or the status that refuses it. Which schemes and spellings
/// are accepted is up to [`pure::request::authorization`].
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
    if is_blank(bytes) { Status::MissingApiKey } else { Status::InvalidApiKey }
}

/// The answer to a key by its hash.
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
        let plan = tables.plan_of(key.account)?;
        let api_access = plan.map(|plan| tables.includes_access(plan)).transpose()?.flatten();
        let api_access = api_access.unwrap_or(false);
        let status = decide(call, &key, api_access, request);
        Ok(Answer {
            status,
            key: Some(key),
            plan: plan.filter(|_| with_details && api_access),
            limits: tables.limits(),
            decision: None,
        })
    })
}

/// Decides on a stored key.
fn decide(call: &Call, stored: &StoredKey, api_access: bool, request: &Request) -> Status {
    // Only a request that needs a scope asks for those of the key.
    let details = stored.details.filter(|_| request.scope.is_some());
    let scopes = details.map_or(&[][..], |details| details.scopes.elements_unguarded(call));
    // A key of an environment that this library does not know is not accepted.
    stored.environment.map_or(Status::InvalidApiKey, |environment| {
        let key = Key {
            environment,
            revoked: stored.revoked,
            expires_at: stored.expires_at,
            disabled: stored.disabled,
            allowed_ips: stored.allowed_ips,
            scopes,
            api_access,
        };
        decision::decide(&key, request)
    })
}
