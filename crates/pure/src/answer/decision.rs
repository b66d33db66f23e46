//! The decision: a status for a key, its account's plan, the request and the time.

use crate::answer::status::Status;
use crate::instant::Micros;
use crate::key::environment::{Environment, Environments};
use crate::request::network::Network;

/// The properties of a stored key that the decision depends on.
#[derive(Clone, Copy, Debug)]
pub struct Key<'a> {
    /// The environment it belongs to.
    pub environment: Environment,
    /// Whether it has been revoked, which is permanent.
    pub revoked: bool,
    /// When it expires; None is never. At this instant it has expired.
    pub expires_at: Option<Micros>,
    /// Whether it is disabled.
    pub disabled: bool,
    /// The networks it is limited to; None is no limit.
    pub allowed_ips: Option<&'a [Network]>,
    /// Its scopes. None is a null among them, which is no scope.
    pub scopes: &'a [Option<&'a [u8]>],
    /// Whether the account's plan includes API access.
    pub api_access: bool,
}

/// The properties of a request that the decision depends on.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The environments whose keys are accepted.
    pub environments: Environments,
    /// The client's address, if the caller knows it.
    pub client_ip: Option<Network>,
    /// The scope that the request needs, if the caller names one.
    pub scope: Option<&'a [u8]>,
    /// The time of the request.
    pub now: Micros,
}

/// Decides on a key that exists; for any other, the answer is [`Status::InvalidApiKey`].
///
/// If several reasons apply, the first one in the order of [`Status`] is the answer. The decision
/// has no side effects.
pub fn decide(key: &Key, request: &Request) -> Status {
    if !request.environments.contains(key.environment) {
        Status::InvalidApiKey
    } else if key.revoked {
        Status::ApiKeyRevoked
    } else if key.expires_at.is_some_and(|instant| instant <= request.now) {
        Status::ApiKeyExpired
    } else if key.disabled {
        Status::ApiKeyDisabled
    } else if key.allowed_ips.is_some_and(|networks| !admits(networks, request.client_ip)) {
        Status::IpNotAllowed
    } else if !key.api_access {
        Status::PlanRequired
    } else if request.scope.is_some_and(|scope| !key.scopes.contains(&Some(scope))) {
        Status::InsufficientScope
    } else {
        Status::Valid
    }
}

/// Whether one of the networks contains the client. Without an address, none does.
fn admits(networks: &[Network], client: Option<Network>) -> bool {
    client.is_some_and(|client| networks.iter().any(|network| network.contains(client)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Micros = 1_000;

    /// Every combination of the reasons, against the rule that the first of them wins.
    #[test]
    fn truth_table() {
        let allowed = [Network::v4([192, 0, 2, 0], 24)];
        let scopes: [Option<&[u8]>; 2] = [None, Some(b"read")];
        for bits in 0..1u32 << 7 {
            let is = |bit: u32| bits >> bit & 1 == 1;
            let key = Key {
                environment: if is(0) { Environment::Test } else { Environment::Live },
                revoked: is(1),
                expires_at: Some(if is(2) { NOW } else { NOW + 1 }),
                disabled: is(3),
                allowed_ips: is(4).then_some(&allowed[..]),
                scopes: &scopes,
                api_access: !is(5),
            };
            let request = Request {
                environments: Environments::parse(b"live").expect("a list"),
                client_ip: Some(Network::v4([198, 51, 100, 1], 32)),
                scope: Some(if is(6) { b"write" } else { b"read" }),
                now: NOW,
            };
            let expected = [
                Status::InvalidApiKey,
                Status::ApiKeyRevoked,
                Status::ApiKeyExpired,
                Status::ApiKeyDisabled,
                Status::IpNotAllowed,
                Status::PlanRequired,
                Status::InsufficientScope,
                Status::Valid,
            ][bits.trailing_zeros().min(7) as usize];
            assert_eq!(decide(&key, &request), expected, "{key:?} {request:?}");
        }
    }

    #[test]
    fn a_limited_key_needs_an_address() {
        let allowed = [Network::v4([192, 0, 2, 0], 24)];
        let key = Key {
            environment: Environment::Live,
            revoked: false,
            expires_at: None,
            disabled: false,
            allowed_ips: Some(&allowed),
            scopes: &[],
            api_access: true,
        };
        let at = |client_ip| Request {
            environments: Environments::ALL,
            client_ip,
            scope: None,
            now: NOW,
        };
        assert_eq!(decide(&key, &at(None)), Status::IpNotAllowed);
        assert_eq!(decide(&key, &at(Some(Network::v4([192, 0, 2, 9], 32)))), Status::Valid);
        assert_eq!(
            decide(&Key { allowed_ips: Some(&[]), ..key }, &at(Some(allowed[0]))),
            Status::IpNotAllowed
        );
    }
}
