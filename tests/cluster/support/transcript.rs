//! What psql prints, as far as it is the same in each run.

/// The text with ids, keys, instants and the width of columns taken out.
pub fn normalised(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = text.lines().map(line).collect();
    while lines.last().is_some_and(String::is_empty) {
        lines.pop();
    }
    let first = lines.iter().position(|line| !line.is_empty()).unwrap_or(lines.len());
    lines.split_off(first)
}

fn line(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut result = String::new();
    let mut at = 0;
    while at < bytes.len() {
        // Names begin where no name goes on.
        let begins = at == 0 || !bytes[at - 1].is_ascii_alphanumeric();
        let found = begins.then(|| changing(&bytes[at..])).flatten();
        if let Some((name, length)) = found {
            result.push_str(name);
            at += length;
            continue;
        }
        let character = text[at..].chars().next().expect("a character");
        let repeated = matches!(character, ' ' | '-') && result.ends_with(character);
        if !repeated {
            result.push(character);
        }
        at += character.len_utf8();
    }
    // A header is centred, and so its spaces depend on the width of the column.
    result.trim().replace(" |", "|").replace("| ", "|").replace(" +", "+")
}

/// What stands at the beginning of the text and differs from run to run: its kind and length.
fn changing(text: &[u8]) -> Option<(&'static str, usize)> {
    const UUID: &str = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";
    const DATE: &str = "dddd-dd-dd";
    const TIME: &str = " dd:dd:dd";
    let ends = |length: usize| !text.get(length).is_some_and(u8::is_ascii_alphanumeric);
    let name = |prefix: usize| {
        prefix + text[prefix..].iter().take_while(|byte| byte.is_ascii_alphanumeric()).count()
    };
    if matches(text, UUID) && ends(UUID.len()) {
        return Some(("<uuid>", UUID.len()));
    }
    if text.starts_with(b"vpk_live_") || text.starts_with(b"vpk_test_") {
        match name(9) {
            41 => return Some(("<key>", 41)),
            13 => return Some(("<hint>", 13)),
            _ => {}
        }
    }
    if text.starts_with(b"req_") && name(4) == 28 {
        return Some(("<request>", 28));
    }
    if matches(text, DATE) {
        let mut length = DATE.len();
        let separated = text.get(length).is_some_and(|byte| matches!(byte, b' ' | b'T'));
        if separated && matches(&text[length + 1..], &TIME[1..]) {
            length += TIME.len();
            // Fraction and zone.
            let rest = text[length..].iter();
            length += rest
                .take_while(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b':' | b'+'))
                .count();
        }
        return Some(("<time>", length));
    }
    None
}

/// Whether the text begins like the pattern: x is a hexadecimal digit, d a decimal one.
fn matches(text: &[u8], pattern: &str) -> bool {
    text.len() >= pattern.len()
        && pattern.bytes().zip(text).all(|(wanted, byte)| match wanted {
            b'x' => byte.is_ascii_hexdigit(),
            b'd' => byte.is_ascii_digit(),
            _ => wanted == *byte,
        })
}

/// The lines of both texts, marked as in a diff, where they are not the same.
pub fn difference(expected: &[String], found: &[String]) -> Option<String> {
    if expected == found {
        return None;
    }
    let before = expected.iter().zip(found).take_while(|(one, other)| one == other).count();
    let (end, found_end) = (&expected[before..], &found[before..]);
    let pairs = end.iter().rev().zip(found_end.iter().rev());
    let after = pairs.take_while(|(one, other)| one == other).count();
    let marked = |mark: char, lines: &[String]| -> String {
        lines.iter().map(|line| format!("{mark} {line}\n")).collect()
    };
    Some(format!(
        "{}{}{}{}",
        marked(' ', &expected[..before]),
        marked('-', &end[..end.len() - after]),
        marked('+', &found_end[..found_end.len() - after]),
        marked(' ', &end[end.len() - after..]),
    ))
}
