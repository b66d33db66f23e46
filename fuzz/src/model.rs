//! A second implementation of the format of a key, made from the documentation and not from the
//! code: if the two differ, one of them is wrong.

macro_rules! count {
    ($($name:ident $label:ident $http:literal $message:literal $description:literal;)+) => {
        /// The number of statuses; each has a counter.
        pub const STATUSES: usize = [$(stringify!($label)),+].len();
    };
}
pure::statuses!(count);

/// The characters of a key, which are also the digits of its checksum.
pub const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// CRC-32 (IEEE 802.3), bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |crc, _| step(crc)))
}

/// The six characters that follow the 35 of label and random part.
fn checksum(checked: &[u8]) -> Vec<u8> {
    let sum = crc32(checked);
    (0..6).rev().map(|place| DIGITS[(sum / 62u32.pow(place) % 62) as usize]).collect()
}

/// The key with this random part.
pub fn key(environment: &str, random: &[u8]) -> Vec<u8> {
    let mut key = [b"vpk_", environment.as_bytes(), b"_", random].concat();
    let sum = checksum(&key);
    key.extend(sum);
    key
}

/// The bytes after a label at the beginning.
fn after_label(bytes: &[u8]) -> Option<&[u8]> {
    bytes.strip_prefix(b"vpk_live_").or_else(|| bytes.strip_prefix(b"vpk_test_"))
}

/// Whether the bytes are a key and nothing else.
pub fn is_key(bytes: &[u8]) -> bool {
    after_label(bytes).is_some_and(|body| {
        body.len() == 32
            && body.iter().all(|byte| DIGITS.contains(byte))
            && body[26..] == checksum(&bytes[..35])
    })
}

/// Each label in the text with the letters and digits after it: the end of the label, and of these.
pub fn labelled(text: &[u8]) -> Vec<(usize, usize)> {
    let ends = |(at, rest): (usize, &[u8])| {
        let run = after_label(rest)?.iter().take_while(|byte| DIGITS.contains(byte)).count();
        Some((at + 9, at + 9 + run))
    };
    (0..text.len()).map(|at| (at, &text[at..])).filter_map(ends).collect()
}
