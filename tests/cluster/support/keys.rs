//! Keys, as a client makes and asks for them.

use postgres::GenericClient;

use super::value;

/// A key that was just made.
#[derive(Clone, Debug)]
pub struct Key {
    pub id: String,
    pub token: String,
}

/// A key of the account `default`.
pub fn create(client: &mut impl GenericClient, name: &str) -> Key {
    create_for(client, name, "default")
}

/// A key of an account.
pub fn create_for(client: &mut impl GenericClient, name: &str, account: &str) -> Key {
    let sql = "SELECT id::text, token FROM vpk_create($1, account => $2)";
    let row = client.query_one(sql, &[&name, &account]).expect("a new key");
    Key { id: row.get(0), token: row.get(1) }
}

/// A key that has expired.
pub fn create_expired(client: &mut impl GenericClient, name: &str) -> Key {
    let key = create(client, name);
    expire(client, &key, "0");
    key
}

/// Has a key expire after so long. One that is created to expire soon may have expired before it is
/// checked, and is then refused.
pub fn expire(client: &mut impl GenericClient, key: &Key, after: &str) {
    let sql = "UPDATE vpk.keys SET expires_at = clock_timestamp() + $2::text::interval
                WHERE id = $1::text::uuid";
    assert_eq!(client.execute(sql, &[&key.id, &after]).expect("an update"), 1);
}

/// An account on a plan.
pub fn set_plan(client: &mut impl GenericClient, account: &str, plan: &str) {
    client.execute("SELECT vpk_set_plan($1, $2)", &[&account, &plan]).expect("the plan is set");
}

/// What `vpk_verify` says.
pub fn verify(client: &mut impl GenericClient, token: &str) -> String {
    value(client, "SELECT vpk_verify($1)::text", &[&token])
}

/// What `vpk_authenticate` says to a request with this key.
pub fn authenticate(client: &mut impl GenericClient, token: &str) -> String {
    let sql = "SELECT status::text FROM vpk_authenticate('Bearer ' || $1)";
    value(client, sql, &[&token])
}

/// Revokes a key.
pub fn revoke(client: &mut impl GenericClient, key: &Key) {
    let sql = "SELECT vpk_revoke($1::text::uuid)::text";
    assert!(!value(client, sql, &[&key.id]).is_empty());
}

/// The checksum at the end of a key: CRC-32 in base 62, six digits.
pub fn checksum(body: &[u8]) -> [u8; 6] {
    const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut rest = crc32fast::hash(body);
    let mut digits = [0; 6];
    for digit in digits.iter_mut().rev() {
        *digit = DIGITS[(rest % 62) as usize];
        rest /= 62;
    }
    digits
}

/// Whether this is how a key looks, its checksum included.
pub fn well_formed(token: &[u8]) -> bool {
    let random = match token.strip_prefix(b"vpk_live_").or(token.strip_prefix(b"vpk_test_")) {
        Some(random) if random.len() == 32 => random,
        _ => return false,
    };
    random.iter().all(u8::is_ascii_alphanumeric) && token.ends_with(&checksum(&token[..35]))
}
