//! The statuses that a verification can answer: the one list from which the SQL enum, the view
//! `vpk.status_codes` and the JSON bodies are made. The view `vpk.stats` has a column for each
//! (sql/views.sql). [`super::decision`] asks in their order.

/// Calls `$then!` with the list of statuses, in order of precedence.
///
/// Each entry has the Rust name, the label in SQL and JSON, the HTTP status, the message to the
/// caller, and the description for developers. If several codes apply, the first one after `VALID`
/// is the answer.
#[macro_export]
macro_rules! statuses {
    ($then:path) => {
        $then! {
            Valid VALID 200
                "The API key is valid"
                "The key may be used.";
            MissingApiKey MISSING_API_KEY 401
                "No API key provided in the request"
                "No Authorization header, or one without a Bearer credential.";
            InvalidApiKey INVALID_API_KEY 401
                "The provided API key is invalid or has been revoked"
                "Malformed, unknown, or of an environment that is not accepted here.";
            ApiKeyRevoked API_KEY_REVOKED 401
                "The API key has been revoked"
                "Revoked for good; see vpk_revoke.";
            ApiKeyExpired API_KEY_EXPIRED 401
                "The API key has expired"
                "The instant expires_at has been reached.";
            ApiKeyDisabled API_KEY_DISABLED 401
                "The API key is disabled"
                "Switched off by vpk_disable; vpk_enable switches it on again.";
            IpNotAllowed IP_NOT_ALLOWED 403
                "The API key may not be used from this address"
                "The key is limited to addresses, and the client's is unknown or not among them.";
            PlanRequired PLAN_REQUIRED 403
                "API access is not included in any plan."
                "The account's plan does not include API access.";
            InsufficientScope INSUFFICIENT_SCOPE 403
                "The API key does not have the required scope"
                "The scope that the caller asked for is not among the key's scopes.";
            RateLimited RATE_LIMITED 429
                "Too many requests"
                "A rate limit of the account or the key is reached; see vpk_set_rate_limit.";
            QuotaExceeded QUOTA_EXCEEDED 429
                "The quota of the current period is used up"
                "A quota of the account or the key is used up; see vpk_set_quota.";
            ConcurrencyLimitExceeded CONCURRENCY_LIMIT_EXCEEDED 429
                "The plan's limit of concurrent tasks is reached"
                "As many tasks are running as the account's plan allows; see vpk_task_start.";
        }
    };
}

macro_rules! define_status {
    ($($name:ident $label:ident $http:literal $message:literal $description:literal;)+) => {
        /// The outcome of a verification. Ordered by precedence.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Status {
            $(#[doc = $description] $name),+
        }

        impl Status {
            /// Every status, in the order of the SQL enum's labels.
            pub const ALL: &[Status] = &[$(Status::$name),+];

            /// The number of statuses.
            pub const COUNT: usize = Status::ALL.len();

            /// The label in SQL and in the JSON body.
            pub const fn label(self) -> &'static str {
                match self { $(Status::$name => stringify!($label)),+ }
            }

            /// The HTTP status of a response with this answer (RFC 9110, section 15).
            pub const fn http_status(self) -> i32 {
                match self { $(Status::$name => $http),+ }
            }

            /// The message of the JSON body. For `PLAN_REQUIRED`, it applies to a database without
            /// a plan that includes access (see [`crate::answer::response::message`]).
            pub const fn message(self) -> &'static str {
                match self { $(Status::$name => $message),+ }
            }

            /// The description for developers.
            pub const fn description(self) -> &'static str {
                match self { $(Status::$name => $description),+ }
            }
        }
    };
}
statuses!(define_status);

impl Status {
    /// The status of a label, if it is one.
    pub fn from_label(label: &[u8]) -> Option<Status> {
        Status::ALL.iter().copied().find(|status| status.label().as_bytes() == label)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn precedence_is_the_order_of_the_contract() {
        let labels: Vec<_> = Status::ALL.iter().map(|s| s.label()).collect();
        assert_eq!(
            labels,
            [
                "VALID",
                "MISSING_API_KEY",
                "INVALID_API_KEY",
                "API_KEY_REVOKED",
                "API_KEY_EXPIRED",
                "API_KEY_DISABLED",
                "IP_NOT_ALLOWED",
                "PLAN_REQUIRED",
                "INSUFFICIENT_SCOPE",
                "RATE_LIMITED",
                "QUOTA_EXCEEDED",
                "CONCURRENCY_LIMIT_EXCEEDED",
            ]
        );
    }

    #[test]
    fn a_label_identifies_its_status() {
        for &status in Status::ALL {
            assert_eq!(Status::from_label(status.label().as_bytes()), Some(status));
        }
        assert_eq!(Status::from_label(b"valid"), None);
    }
}
