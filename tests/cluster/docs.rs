//! The examples of README.md, docs/ and docs/guides/ are run, and do what they show.
//!
//! Each ```sql block is given to psql, those of one page in one session on a fresh server. A block
//! with output (```text, ```console or ```plain) that follows directly is what psql has to print;
//! what differs from run to run is left out of the comparison (see support/transcript.rs). A block
//! under `<!-- not run: reason -->` is not run.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread;

use crate::support::Cluster;
use crate::support::transcript::{difference, normalised};

/// A block of SQL, and what a page says it prints.
struct Example {
    line: usize,
    sql: String,
    output: Option<String>,
}

/// The examples of a page that the test runs.
fn examples(page: &str) -> Vec<Example> {
    let mut examples: Vec<Example> = Vec::new();
    let mut lines = page.lines().enumerate();
    let (mut not_run, mut awaits_output) = (false, false);
    while let Some((number, line)) = lines.next() {
        let Some(language) = line.strip_prefix("```") else {
            if !line.trim().is_empty() {
                not_run = line.trim().starts_with("<!-- not run:");
                awaits_output = false;
            }
            continue;
        };
        let block: Vec<&str> =
            lines.by_ref().map(|(_, line)| line).take_while(|line| *line != "```").collect();
        let block = block.join("\n");
        let language = language.trim();
        match (language, examples.last_mut()) {
            ("text" | "console" | "plain", Some(example)) if awaits_output => {
                example.output = Some(block);
                awaits_output = false;
            }
            _ => {
                awaits_output = language == "sql" && !not_run;
                if awaits_output {
                    examples.push(Example { line: number + 1, sql: block, output: None });
                }
            }
        }
        not_run = false;
    }
    examples
}

/// What psql prints for each of them, in one session. A page that does not install the extension
/// finds it installed.
fn outputs(cluster: &Cluster, examples: &[Example]) -> Vec<String> {
    const MARK: &str = "--- next example ---";
    let installs = examples.iter().any(|example| example.sql.contains("CREATE EXTENSION"));
    let mut script = String::from("\\set QUIET on\n");
    if !installs {
        script.push_str("CREATE SCHEMA keys; CREATE EXTENSION vibepeak_keys SCHEMA keys;\n");
    }
    script.push_str("\\set QUIET off\n");
    for example in examples {
        script.push_str(&format!("{}\n\\echo {MARK}\n", example.sql));
    }
    cluster.client().batch_execute("CREATE DATABASE docs TEMPLATE template0").expect("a database");
    let psql = cluster.program("psql");
    let mut shell = cluster.program("sh");
    let mut psql = shell
        .args(["-c", "exec \"$0\" \"$@\" 2>&1"])
        .arg(psql.get_program())
        .args(["-X", "-U", "postgres", "-d", "docs", "-h", &cluster.socket()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("psql runs");
    let mut input = psql.stdin.take().expect("its input");
    let writer = thread::spawn(move || input.write_all(script.as_bytes()));
    let output = psql.wait_with_output().expect("psql ends");
    writer.join().expect("a thread").expect("psql reads");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let mut outputs: Vec<String> = text.split(MARK).map(str::to_owned).collect();
    let rest = outputs.pop();
    assert_eq!(outputs.len(), examples.len(), "psql ended early: {rest:?}");
    outputs
}

/// Runs a page's examples; what is wrong with them, and how many there are.
fn check(page: &Path, text: &str) -> (usize, String) {
    let examples = examples(text);
    if examples.is_empty() {
        return (0, String::new());
    }
    let cluster = Cluster::start(&[]);
    let mut problems = String::new();
    for (example, output) in examples.iter().zip(outputs(&cluster, &examples)) {
        let problem = match &example.output {
            Some(expected) => difference(&normalised(expected), &normalised(&output)),
            None if output.contains("ERROR:") => Some(output),
            None => None,
        };
        if let Some(problem) = problem {
            let place = format!("{}:{}", page.display(), example.line);
            problems.push_str(&format!("\n{place}\n{}\n\n{problem}", example.sql));
        }
    }
    (examples.len(), problems)
}

/// The examples of every page are run; the README has some.
#[test]
fn every_example_does_what_it_shows() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut pages: Vec<PathBuf> = Vec::new();
    for folder in ["docs", "docs/guides"] {
        let files = fs::read_dir(root.join(folder)).expect(folder);
        pages.extend(files.map(|entry| entry.expect("a file").path()));
    }
    pages.retain(|page| page.extension().is_some_and(|extension| extension == "md"));
    pages.push(root.join("README.md"));
    pages.sort();
    let mut problems = String::new();
    for page in &pages {
        let text = fs::read_to_string(page).expect("a page");
        let name = page.strip_prefix(root).expect("a page of ours");
        let (examples, wrong) = check(name, &text);
        println!("{}: {examples} examples", name.display());
        problems.push_str(&wrong);
        if name == Path::new("README.md") && examples == 0 {
            problems.push_str("README.md: no example is run\n");
        }
    }
    assert!(problems.is_empty(), "{problems}");
}

/// How the examples of a page are found.
#[test]
fn the_blocks_of_a_page_are_found() {
    let page = "```sql\na\n```\n```text\n1\n2\n```\n\n```text\nno output\n```\n\
                <!-- not run: reason -->\n```sql\nb\n```\n```text\n3\n```\n\
                ```sql\nc\n```\n\nText.\n\n```text\nno output\n```\n\
                ```js\nd\n```\n```sql\ne\n```\n\n```plain\n4\n```\n";
    let found: Vec<(usize, String, Option<String>)> =
        examples(page).into_iter().map(|found| (found.line, found.sql, found.output)).collect();
    let output = |text: &str| Some(text.to_owned());
    let expected = [
        (1, "a".to_owned(), output("1\n2")),
        (19, "c".to_owned(), None),
        (31, "e".to_owned(), output("4")),
    ];
    assert_eq!(found, expected);
}
