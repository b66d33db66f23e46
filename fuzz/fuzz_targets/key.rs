//! The format of keys (G2, G5): any bytes are a key exactly if the documentation says so, and every
//! issued key is one.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pure::key::environment::{Environment, Environments};
use pure::key::token::Token;
use pure::random::random_characters;
use pure::white_space::trimmed;
use sha2::{Digest, Sha256};
use vibepeak_keys_fuzz::model;

fuzz_target!(|data: &[u8]| {
    presented(data);
    listed(data);
    if let [choice, position, byte, random @ ..] = data {
        let environment = Environment::ALL[usize::from(choice & 1)];
        random_part(usize::from(choice >> 1), random);
        if let Some(key) = issued(environment, random) {
            mistyped(&key, usize::from(*position), *byte);
        }
        // The same without the need for enough random bytes.
        let digit = |at| model::DIGITS[usize::from(*random.get(at).unwrap_or(&0)) % 62];
        let key = model::key(environment.name(), &(0..26).map(digit).collect::<Vec<_>>());
        presented(&key);
        mistyped(&key, usize::from(*position), *byte);
        // A correct checksum alone does not make a key.
        let any = |at| *random.get(at).unwrap_or(&b'0');
        presented(&model::key(environment.name(), &(0..26).map(any).collect::<Vec<_>>()));
    }
});

fn presented(bytes: &[u8]) {
    let token = Token::parse(bytes);
    assert_eq!(token.is_some(), model::is_key(bytes));
    if let Some(token) = token {
        assert_eq!(token.as_str().as_bytes(), bytes);
        assert_eq!(token.prefix().as_bytes(), &bytes[..8]);
        assert_eq!(token.hint().as_bytes(), &bytes[..13]);
        assert_eq!(token.hash()[..], Sha256::digest(bytes)[..]);
    }
}

/// One wrong character at any position is always detected.
fn mistyped(key: &[u8], position: usize, byte: u8) {
    let mut typed = key.to_vec();
    let length = typed.len();
    typed[position % length] = byte;
    assert_eq!(Token::parse(&typed).is_some(), typed == key);
    assert!(Token::parse(&key[..position % length]).is_none());
}

/// Returns the bytes until there are no more.
fn drawn_from(mut bytes: &[u8]) -> impl FnMut(&mut [u8]) -> Result<(), ()> {
    move |pool| {
        let (now, later) = bytes.split_at_checked(pool.len()).ok_or(())?;
        pool.copy_from_slice(now);
        bytes = later;
        Ok(())
    }
}

/// The characters that so many random bytes stand for: 62 goes four times into 248.
fn characters(bytes: &[u8]) -> impl Iterator<Item = u8> {
    let whole = bytes.len() / 32 * 32;
    let unbiased = bytes[..whole].iter().filter(|byte| **byte < 248);
    unbiased.map(|byte| model::DIGITS[usize::from(*byte) % 62])
}

fn random_part(length: usize, bytes: &[u8]) {
    let mut target = vec![0; length];
    let filled = random_characters(&mut target, &mut drawn_from(bytes));
    let expected: Vec<u8> = characters(bytes).take(length).collect();
    assert_eq!(filled.is_ok(), expected.len() == length);
    assert!(filled.is_err() || target == expected);
}

fn issued(environment: Environment, bytes: &[u8]) -> Option<Vec<u8>> {
    let token = Token::generate(environment, drawn_from(bytes));
    let expected: Vec<u8> = characters(bytes).take(26).collect();
    assert_eq!(token.is_ok(), expected.len() == 26);
    let key = token.ok()?.as_str().as_bytes().to_vec();
    assert_eq!(key, model::key(environment.name(), &expected));
    presented(&key);
    Some(key)
}

/// The list of environments whose keys are accepted.
fn listed(list: &[u8]) {
    let names: Vec<&[u8]> = list.split(|byte| *byte == b',').map(trimmed).collect();
    let set = Environments::parse(list);
    assert_eq!(set.is_some(), names.iter().all(|name| [&b"live"[..], b"test"].contains(name)));
    for environment in Environment::ALL {
        let name = environment.name().as_bytes();
        assert_eq!(Environment::from_name(name), Some(environment));
        let Some(set) = set else { continue };
        assert_eq!(set.contains(environment), names.contains(&name));
        for other in Environment::ALL {
            let both = other == environment && set.contains(other);
            assert_eq!(set.only(environment).contains(other), both);
        }
        assert_eq!(Environments::from_bits(set.bits()), set);
    }
    if let [bits, ..] = list {
        let set = Environments::from_bits(*bits);
        assert_eq!(set.bits(), bits & Environments::ALL.bits());
    }
}
