//! The value of an Authorization header (G2): any bytes are read as RFC 9110 and RFC 6750 say.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pure::request::authorization;
use pure::white_space::is_blank;

fuzz_target!(|data: &[u8]| {
    read(data);
    if let [before, spaces, after, credential @ ..] = data {
        framed(*before, usize::from(spaces % 8) + 1, *after, credential);
    }
});

fn is_white(byte: &u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | 0x0b | 0x0c | b'\r')
}

fn read(header: &[u8]) {
    let credential = authorization::credential(header);
    assert_eq!(credential, expected(header));
    let blank = header.iter().all(is_white);
    assert_eq!(is_blank(header), blank);
    assert!(!blank || credential.is_none());
}

/// The credential, found by position.
fn expected(header: &[u8]) -> Option<&[u8]> {
    let begin = header.iter().position(|byte| !is_white(byte))?;
    let end = 1 + header.iter().rposition(|byte| !is_white(byte))?;
    let value = &header[begin..end];
    if value.len() < 7 || value[..7].to_ascii_lowercase() != *b"bearer " {
        return None;
    }
    let begin = 7 + value[7..].iter().position(|byte| *byte != b' ')?;
    Some(&value[begin..])
}

/// A credential comes back as it was, with the scheme in any case.
fn framed(before: u8, spaces: usize, after: u8, credential: &[u8]) {
    let is_edge = |byte: Option<&u8>| byte.is_none_or(is_white);
    if is_edge(credential.first()) || is_edge(credential.last()) {
        return;
    }
    let white = [&b""[..], b" ", b"\t", b"\r\n", b" \t \x0c"];
    let choose = |byte: u8| white[usize::from(byte) % white.len()];
    let mut scheme = *b"bearer";
    for (at, letter) in scheme.iter_mut().enumerate() {
        if before >> at & 1 == 1 {
            letter.make_ascii_uppercase();
        }
    }
    let gap = b" ".repeat(spaces);
    let header = [choose(before), &scheme, &gap, credential, choose(after)].concat();
    assert_eq!(authorization::credential(&header), Some(credential));
}
