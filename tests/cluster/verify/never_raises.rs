//! G2: verification answers for any argument.

use crate::support::keys::{Key, checksum, create, verify, well_formed};
use crate::support::random::Random;
use crate::support::{Client, Cluster, report, value};
use postgres::IsolationLevel;

const STRINGS: usize = 340_000;
const BATCH: usize = 10_000;
const LEVELS: [IsolationLevel; 3] =
    [IsolationLevel::ReadCommitted, IsolationLevel::RepeatableRead, IsolationLevel::Serializable];

/// What may stand in a database of each encoding: bytes, or characters.
const ENCODINGS: [&str; 3] = ["UTF8", "LATIN1", "SQL_ASCII"];

/// Any character but NUL, which no text has.
fn character(random: &mut Random, encoding: &str) -> Vec<u8> {
    if encoding != "UTF8" {
        return vec![1 + random.below(255) as u8];
    }
    const RANGES: [(u32, u32); 4] =
        [(1, 0x7f), (0x80, 0x7ff), (0x800, 0xd7ff), (0x1_0000, 0x10_ffff)];
    let (first, last) = *random.pick(&RANGES);
    let code = first + random.below((last - first + 1) as usize) as u32;
    char::from_u32(code).expect("a character").to_string().into_bytes()
}

/// A string of some kind; now and then the key itself.
fn string(random: &mut Random, encoding: &str, key: &[u8]) -> Vec<u8> {
    const BLANKS: [&[u8]; 7] = [b" ", b"\t", b"\r\n", b"\x0b", b"\x0c", b"", b"  "];
    let mut text = key.to_vec();
    let at = random.below(key.len());
    match random.below(16) {
        0 => {}
        1 => text.truncate(at),
        2 => text.extend(character(random, encoding)),
        3 => drop(text.splice(at..=at, character(random, encoding))),
        4 => drop(text.splice(at..at, character(random, encoding))),
        5 => drop(text.remove(at)),
        6 => text.swap(at, random.below(key.len())),
        7 => text[at] ^= 0x20,
        8 => text.make_ascii_uppercase(),
        9 => text = text.repeat(1 + random.below(4)),
        10 => text.splice(..0, random.pick(&BLANKS).to_vec()).for_each(drop),
        11 => text.extend(*random.pick(&BLANKS)),
        12 => text = random.pick(&BLANKS).repeat(random.below(20)),
        13 => {
            // Well-formed, and never issued.
            text[at.clamp(9, 34)] = *random.pick(b"0aZ");
            let digits = checksum(&text[..35]);
            text[35..].copy_from_slice(&digits);
        }
        14 => text = vec![b'A' + random.below(26) as u8; random.below(9000)],
        _ => {
            let length = random.below(60);
            text = (0..length).flat_map(|_| character(random, encoding)).collect();
        }
    }
    text
}

/// The same as the value of an `Authorization` header.
fn header(random: &mut Random, credential: &[u8]) -> Vec<u8> {
    const SCHEMES: [&[u8]; 12] = [
        b"Bearer ",
        b"bearer ",
        b"BEARER   ",
        b" \tBearer ",
        b"Bearer",
        b"Bearer\t",
        b"Basic ",
        b"",
        b"Bearer Bearer ",
        b"Bearer  \t",
        b"\x0bBearer ",
        b"Bearer=",
    ];
    [*random.pick(&SCHEMES), credential].concat()
}

fn blank(text: &[u8]) -> bool {
    text.iter().all(|byte| matches!(byte, b' ' | b'\t'..=b'\r'))
}

/// What `vpk_verify` has to say to it.
fn expected(text: Option<&[u8]>, key: &[u8]) -> &'static str {
    match text {
        None => "MISSING_API_KEY",
        Some(text) if text == key => "VALID",
        Some(text) if blank(text) => "MISSING_API_KEY",
        Some(_) => "INVALID_API_KEY",
    }
}

/// What `vpk_authenticate` has to say to it.
fn expected_of_header(text: Option<&[u8]>, key: &[u8]) -> &'static str {
    let white = |byte: &u8| blank(&[*byte]);
    let mut text = text.unwrap_or_default();
    text = &text[text.iter().take_while(|byte| white(byte)).count()..];
    text = &text[..text.len() - text.iter().rev().take_while(|byte| white(byte)).count()];
    let Some((scheme, rest)) = text.split_at_checked(6) else { return "MISSING_API_KEY" };
    if !scheme.eq_ignore_ascii_case(b"Bearer") || !rest.starts_with(b" ") {
        return "MISSING_API_KEY";
    }
    let spaces = rest.iter().take_while(|byte| **byte == b' ').count();
    expected(Some(&rest[spaces..]), key)
}

/// Asks for a batch of strings at once.
fn answers(
    client: &mut Client,
    encoding: &str,
    level: IsolationLevel,
    texts: &[Option<Vec<u8>>],
) -> Vec<(String, String)> {
    let sql = format!(
        "SELECT vpk_verify(text)::text, a.status::text,
                vpk_client_ip(text) IS NOT NULL
                    OR vpk_client_ip(text || ', 203.0.113.9') = '203.0.113.9'
                    OR octet_length(text) > 8000 OR text IS NULL
           FROM unnest($1::bytea[]) WITH ORDINALITY AS u (bytes, n),
                LATERAL (SELECT convert_from(bytes, '{encoding}') AS text OFFSET 0) AS t,
                LATERAL vpk_authenticate(text, request_id => text, scope => 's') AS a
          ORDER BY n"
    );
    let mut transaction =
        client.build_transaction().isolation_level(level).read_only(true).start().expect("one");
    let rows = match transaction.query(&sql, &[&texts]) {
        Ok(rows) => rows,
        Err(error) => panic!("{encoding}: {}", report(&error)),
    };
    transaction.commit().expect("its end");
    assert!(rows.iter().all(|row| row.get(2)), "{encoding}: the last address is found");
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

fn a_third_of_a_million(encoding: &str) {
    let cluster = Cluster::start(&[]);
    cluster.database("strings", encoding);
    let mut client = cluster.connect("strings", "postgres");
    let Key { token, .. } = create(&mut client, "the only one");
    client.batch_execute("UPDATE vpk.keys SET scopes = '{s}'").expect("a scope");
    let key = token.as_bytes();
    assert!(well_formed(key));
    let mut random = Random::new();

    for batch in 0..STRINGS / BATCH {
        let mut texts: Vec<_> = (0..BATCH)
            .map(|number| {
                let text = string(&mut random, encoding, key);
                let is_header = number % 2 == 0;
                Some(if is_header { header(&mut random, &text) } else { text })
            })
            .collect();
        texts[0] = None;
        let answers = answers(&mut client, encoding, LEVELS[batch % 3], &texts);
        assert_eq!(answers.len(), texts.len());
        for (text, (verified, authenticated)) in texts.iter().zip(&answers) {
            let text = text.as_deref();
            let shown = || String::from_utf8_lossy(text.unwrap_or_default()).into_owned();
            assert_eq!(verified, expected(text, key), "{encoding} {:?}", shown());
            assert_eq!(authenticated, expected_of_header(text, key), "{encoding} {:?}", shown());
        }
        let valid = answers.iter().filter(|answer| answer.0 == "VALID" || answer.1 == "VALID");
        assert!(valid.count() > 0, "the key itself is among them");
    }
    assert_eq!(verify(&mut client, &token), "VALID", "the same server process goes on");
}

/// G2: strings of every kind, in the encoding most databases have.
#[test]
fn any_string_in_utf8_is_answered() {
    a_third_of_a_million(ENCODINGS[0]);
}

/// G2: strings of every kind, where each byte is a character.
#[test]
fn any_string_in_latin1_is_answered() {
    a_third_of_a_million(ENCODINGS[1]);
}

/// G2: strings of every kind, where bytes are of no encoding.
#[test]
fn any_string_in_sql_ascii_is_answered() {
    a_third_of_a_million(ENCODINGS[2]);
}

/// G2: values of a hundred million characters, as they are, compressed, and out of line.
#[test]
fn a_string_of_a_hundred_megabytes_is_answered() {
    const SIZE: usize = 100 * 1024 * 1024;
    let cluster = Cluster::start(&[("wal_level", "minimal"), ("max_wal_senders", "0")]);
    let mut client = cluster.client();
    let key = create(&mut client, "in front");
    let values = [
        ("repeat('x', $2)", "INVALID_API_KEY", "MISSING_API_KEY"),
        ("repeat(' ', $2)", "MISSING_API_KEY", "MISSING_API_KEY"),
        ("repeat('ä', $2 / 2)", "INVALID_API_KEY", "MISSING_API_KEY"),
        ("repeat($1, $2 / 41)", "INVALID_API_KEY", "MISSING_API_KEY"),
        ("'Bearer ' || $1 || repeat('x', $2)", "INVALID_API_KEY", "INVALID_API_KEY"),
        ("'Bearer ' || repeat(' ', $2)", "INVALID_API_KEY", "MISSING_API_KEY"),
    ];
    let answers = "vpk_verify(text)::text || ' ' || a.status || ' ' || coalesce(a.request_id, '')
                   || coalesce(vpk_client_ip(text)::text, '')";
    for (text, verified, authenticated) in values {
        let sql = format!(
            "SELECT {answers} FROM (SELECT {text} AS text WHERE $1 <> '' OFFSET 0) AS t,
                    vpk_authenticate(text, text, request_id => text, environment => text) AS a"
        );
        let answer = value(&mut client, &sql, &[&key.token, &(SIZE as i32)]);
        let expected = format!("{verified} {authenticated} req_");
        assert!(answer.starts_with(&expected), "{text}: {answer:.100}");
    }
    for storage in ["EXTENDED", "EXTERNAL"] {
        client
            .batch_execute(&format!(
                "BEGIN;
                 CREATE TABLE large (text text);
                 ALTER TABLE large ALTER COLUMN text SET STORAGE {storage};
                 INSERT INTO large SELECT 'Bearer ' || repeat('0123456789', {SIZE} / 10);
                 COMMIT"
            ))
            .expect("a large row");
        let sql = format!("SELECT {answers} FROM large, vpk_authenticate(text, text) AS a");
        let answer = value(&mut client, &sql, &[]);
        assert!(answer.starts_with("INVALID_API_KEY INVALID_API_KEY req_"), "{answer:.100}");
        client.batch_execute("DROP TABLE large").expect("its end");
    }
    assert_eq!(verify(&mut client, &key.token), "VALID", "the same server process goes on");
}
