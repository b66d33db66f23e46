//! The statements that the documentation gives for several servers, which tests run.

use std::fs;
use std::path::Path;

/// The block of SQL of a page that begins like this, and is marked as run by the test of this file
/// name.
pub fn recipe(page: &str, test: &str, beginning: &str) -> String {
    block(page, &format!("/{test} runs it -->\n```sql\n"), beginning)
}

/// The lines of a page that go into a configuration file, and begin like this.
pub fn configuration(page: &str, beginning: &str) -> String {
    block(page, "```ini\n", beginning)
}

fn block(page: &str, mark: &str, beginning: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../docs").join(page);
    let text = fs::read_to_string(&path).expect("a page");
    let mut blocks = text.split(mark).skip(1).filter_map(|rest| rest.split("\n```").next());
    let found = blocks.find(|block| block.starts_with(beginning));
    found.unwrap_or_else(|| panic!("{page} has no such block: {mark}{beginning}")).to_owned()
}
