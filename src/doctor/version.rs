//! Whether the library and the extension have the same version.

use core::cmp::Ordering;

use super::finding::Finding;

/// The version of the extension in this database, and that of the library.
pub fn version(extension: Option<&str>, library: &str) -> Finding {
    const ITEM: &str = "version";
    let extension = extension.unwrap_or_default();
    if extension == library {
        return Finding::good(ITEM, format!("extension and library are both version {library}"));
    }
    let advice = match numbers(extension).cmp(&numbers(library)) {
        Ordering::Greater => {
            "Load the installed library: restart the server if it is preloaded, otherwise reconnect."
        }
        _ => {
            "Run ALTER EXTENSION vibepeak_keys UPDATE, and call vpk_grant_admin again for admin \
             roles."
        }
    };
    Finding::bad(
        ITEM,
        format!("the extension is version {extension}, the library version {library}"),
        advice,
    )
}

/// The numbers of a version, to compare: 0.10.0 is after 0.9.1.
fn numbers(version: &str) -> Vec<u64> {
    version.split('.').map(|part| part.parse().unwrap_or(0)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_advice_is_to_update_the_older_of_the_two() {
        assert_eq!(version(Some("0.2.0"), "0.2.0").ok, Some(true));
        for (extension, library, advice) in [
            ("0.1.0", "0.2.0", "ALTER EXTENSION"),
            ("0.9.1", "0.10.0", "ALTER EXTENSION"),
            ("0.10.0", "0.9.1", "restart"),
            ("", "0.2.0", "ALTER EXTENSION"),
        ] {
            let finding = version(Some(extension), library);
            assert_eq!(finding.ok, Some(false));
            assert!(finding.advice.is_some_and(|found| found.contains(advice)), "{extension}");
        }
    }
}
