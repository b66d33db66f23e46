//! docs/reference.md names what the catalogue has, and nothing else: each function with its
//! arguments and result, each view, table and column, setting, status and item of the doctor.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::support::{Client, Cluster};

/// A name and a type, as an argument or a column has them.
type Column = (String, String);

/// What a function takes and returns.
#[derive(Debug, Default, PartialEq)]
struct Signature {
    arguments: Vec<Column>,
    defaults: Vec<Option<String>>,
    /// The type of a single value, `nothing`, or `columns`.
    result: String,
    columns: Vec<Column>,
}

/// The types that the reference names, as PostgreSQL's manual abbreviates them.
const TYPES: &[&str] = &[
    "bigint",
    "boolean",
    "bytea",
    "cidr[]",
    "date",
    "double precision",
    "inet",
    "integer",
    "interval",
    "jsonb",
    "real",
    "regrole",
    "text",
    "text[]",
    "timestamptz",
    "uuid",
    "vpk_status",
];

/// The text of each section of the page, without its blocks of code.
fn sections() -> BTreeMap<String, String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference.md");
    let page = fs::read_to_string(path).expect("the reference");
    let (mut sections, mut heading, mut in_code) = (BTreeMap::new(), String::new(), false);
    for line in page.lines() {
        if line.starts_with("```") {
            in_code = !in_code;
        } else if let Some(title) = line.strip_prefix("## ").or(line.strip_prefix("### "))
            && !in_code
        {
            heading = title.to_owned();
        } else if !in_code {
            let text: &mut String = sections.entry(heading.clone()).or_default();
            text.push_str(line);
            text.push('\n');
        }
    }
    sections
}

/// The section whose heading names a function; a heading can name several.
fn section<'a>(sections: &'a BTreeMap<String, String>, name: &str) -> Option<&'a String> {
    let names = |heading: &str| heading.replace(" and ", ", ").split(", ").any(|one| one == name);
    sections.iter().find(|(heading, _)| names(heading)).map(|(_, text)| text)
}

/// What is between backticks in a text.
fn spans(text: &str) -> Vec<String> {
    let words = |span: &str| span.split_whitespace().collect::<Vec<_>>().join(" ");
    text.split('`').skip(1).step_by(2).map(words).collect()
}

/// The rows of the table that has these first columns, each as its cells.
fn table(text: &str, head: &str) -> Vec<Vec<String>> {
    let row = |line: &str| line.trim_matches('|').split('|').map(|c| c.trim().into()).collect();
    let lines = text.lines().skip_while(|line| !line.starts_with(head)).skip(2);
    lines.take_while(|line| line.starts_with('|')).map(row).collect()
}

/// `name type`, if it is that.
fn column(text: &str) -> Option<Column> {
    let (name, kind) = text.split_once(' ')?;
    let named = name.chars().all(|character| character.is_ascii_lowercase() || character == '_');
    (named && TYPES.contains(&kind)).then(|| (name.to_owned(), kind.to_owned()))
}

/// The columns that a section lists, in a table or in spans, or those of the section it refers to.
fn columns(sections: &BTreeMap<String, String>, text: &str) -> Vec<Column> {
    let rows = table(text, "| column | type |");
    let mut found = Vec::new();
    for row in &rows {
        let (names, types) = (spans(&row[0]), spans(&row[1]));
        for (at, name) in names.iter().enumerate() {
            let kind = if types.len() == 1 { types.first() } else { types.get(at) };
            found.push((name.clone(), kind.cloned().unwrap_or_default()));
        }
    }
    if rows.is_empty() {
        let listed = |span: &String| span.split(", ").map(column).collect::<Option<Vec<_>>>();
        found = spans(text).iter().filter_map(listed).flatten().collect();
    }
    for (phrase, other) in [
        ("as in [vpk_list]", "vpk_list"),
        ("like [vpk_create]", "vpk_create"),
        ("the columns of [vpk_list]", "vpk_list"),
    ] {
        if text.replace('\n', " ").contains(phrase) {
            found = columns(sections, &sections[other]);
        }
    }
    found
}

/// The arguments of a call in a span, if it declares them.
fn declared(call: &str) -> Option<(Vec<Column>, Vec<Option<String>>)> {
    let inside = call.split_once('(')?.1.strip_suffix(')')?;
    let (mut arguments, mut defaults) = (Vec::new(), Vec::new());
    for argument in inside.split(", ").filter(|argument| !argument.is_empty()) {
        let (declaration, default) = match argument.split_once(" = ") {
            Some((declaration, default)) => (declaration, Some(default.to_owned())),
            None => (argument, None),
        };
        arguments.push(column(declaration)?);
        defaults.push(default);
    }
    Some((arguments, defaults))
}

/// What the reference says of a function.
fn documented(sections: &BTreeMap<String, String>, name: &str) -> Option<Signature> {
    let text = section(sections, name)?;
    let rows = table(text, "| argument | type | default |");
    let (arguments, defaults, after) = if rows.is_empty() {
        let begins = format!("{name}(");
        let spans = spans(text);
        let mut calls = spans.iter().filter(|span| span.starts_with(&begins));
        let (arguments, defaults) = calls.find_map(|call| declared(call))?;
        (arguments, defaults, text.find(&format!("`{begins}"))?)
    } else {
        let cell = |cell: &String| spans(cell).first().cloned().unwrap_or_default();
        let arguments = rows.iter().map(|row| (cell(&row[0]), cell(&row[1]))).collect();
        (arguments, rows.iter().map(|row| spans(&row[2]).first().cloned()).collect(), 0)
    };
    // The text up to the next function of the section.
    let after = text[after..].split("\n- `vpk_").next().unwrap_or_default();
    let words = after.split_whitespace().collect::<Vec<_>>().join(" ");
    let returns = words.split_once("eturns ").map_or("", |(_, rest)| rest);
    let (mut result, mut listed) = ("columns".to_owned(), Vec::new());
    if returns.starts_with("nothing") {
        result = "nothing".to_owned();
    } else if let Some(kind) = returns.trim_start_matches('[').strip_prefix('`')
        && let Some((kind, _)) = kind.split_once('`')
    {
        result = kind.to_owned();
    } else {
        listed = columns(sections, after);
    }
    Some(Signature { arguments, defaults, result, columns: listed })
}

/// The type as the reference has it.
const SHORT_TYPE: &str = "replace(replace(format_type(t.oid, NULL),
    'timestamp with time zone', 'timestamptz'), 'vpk.', '')";

/// The functions that a role may be granted, with all their forms.
fn functions(client: &mut Client) -> BTreeMap<String, Vec<Signature>> {
    let sql = format!(
        "SELECT p.proname::text,
                array(SELECT a.name FROM unnest(p.proargnames[:p.pronargs])
                          WITH ORDINALITY AS a (name, at) ORDER BY at),
                array(SELECT {SHORT_TYPE} FROM unnest(p.proargtypes) WITH ORDINALITY AS a (type, at)
                        JOIN pg_type AS t ON t.oid = a.type ORDER BY at),
                array(SELECT pg_get_function_arg_default(p.oid, at)
                        FROM generate_series(1, p.pronargs) AS at ORDER BY at),
                CASE WHEN p.proallargtypes IS NOT NULL THEN 'columns'
                     WHEN p.prorettype = 'void'::regtype THEN 'nothing'
                     ELSE (SELECT {SHORT_TYPE} FROM pg_type AS t WHERE t.oid = p.prorettype) END,
                array(SELECT a.name FROM unnest(p.proargnames) WITH ORDINALITY AS a (name, at)
                       WHERE at > p.pronargs AND p.proallargtypes IS NOT NULL ORDER BY at),
                array(SELECT {SHORT_TYPE} FROM unnest(p.proallargtypes)
                          WITH ORDINALITY AS a (type, at)
                        JOIN pg_type AS t ON t.oid = a.type WHERE at > p.pronargs ORDER BY at)
           FROM pg_proc AS p
           JOIN pg_depend AS d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid
            AND d.deptype = 'e'
          WHERE p.pronamespace = 'keys'::regnamespace
          ORDER BY p.proname, p.pronargs, p.oid"
    );
    let mut found: BTreeMap<String, Vec<Signature>> = BTreeMap::new();
    for row in client.query(&sql, &[]).expect("the functions") {
        let strings = |at: usize| row.get::<_, Vec<String>>(at);
        found.entry(row.get(0)).or_default().push(Signature {
            arguments: strings(1).into_iter().zip(strings(2)).collect(),
            defaults: row.get(3),
            result: row.get(4),
            columns: strings(5).into_iter().zip(strings(6)).collect(),
        });
    }
    found
}

/// Whether two expressions of a default are the same value.
fn same_default(
    client: &mut Client,
    kind: &str,
    one: &Option<String>,
    other: &Option<String>,
) -> bool {
    let (Some(one), Some(other)) = (one, other) else { return one == other };
    let sql = format!("SELECT CAST({one} AS {kind}) IS NOT DISTINCT FROM CAST({other} AS {kind})");
    client.query_one(&sql, &[]).is_ok_and(|row| row.get(0))
}

/// A server with the extension in the schema that the reference uses.
fn start() -> (Cluster, Client) {
    let cluster = Cluster::start(&[]);
    let mut client = cluster.client();
    client.batch_execute("DROP EXTENSION IF EXISTS vibepeak_keys").expect("none");
    let sql = "CREATE SCHEMA keys; CREATE EXTENSION vibepeak_keys SCHEMA keys";
    client.batch_execute(sql).expect("the extension");
    (cluster, client)
}

#[test]
fn the_reference_has_each_function_as_it_is() {
    let (_cluster, mut client) = start();
    let sections = sections();
    let functions = functions(&mut client);
    let mut problems = String::new();
    for (name, forms) in &functions {
        let Some(said) = documented(&sections, name) else {
            problems.push_str(&format!("{name}: no section declares it\n"));
            continue;
        };
        let form = forms.iter().find(|form| form.arguments == said.arguments);
        let form = form.unwrap_or(&forms[0]);
        let same = said.defaults.iter().zip(&form.defaults).zip(&form.arguments);
        let same = same.into_iter().all(|((said, is), (_, kind))| {
            let kind = kind.replace("vpk_status", "vpk.vpk_status");
            same_default(&mut client, &kind, said, is)
        });
        let Signature { arguments, result, columns, .. } = form;
        if (arguments, result, columns) != (&said.arguments, &said.result, &said.columns) || !same {
            problems.push_str(&format!("{name}:\n  is        {form:?}\n  reference {said:?}\n"));
        }
        // Further forms are named by the argument in which they differ.
        let text = section(&sections, name).map(|text| spans(text)).unwrap_or_default();
        for (argument, kind) in forms.iter().flat_map(|form| &form.arguments) {
            let is_said = said.arguments.contains(&(argument.clone(), kind.clone()));
            if !is_said && !text.contains(&format!("{argument} {kind}")) {
                problems.push_str(&format!("{name}: a form with {argument} {kind} is not named\n"));
            }
        }
    }
    for heading in sections.keys().filter(|heading| heading.starts_with("vpk_")) {
        for name in heading.replace(" and ", ", ").split(", ") {
            if !functions.contains_key(name) {
                problems.push_str(&format!("{name}: there is no such function\n"));
            }
        }
    }
    assert!(problems.is_empty(), "{problems}");
}

#[test]
fn the_reference_has_each_view_and_table_as_it_is() {
    let (_cluster, mut client) = start();
    let sections = sections();
    let sql = format!(
        "SELECT c.relname::text, array_agg(a.attname::text ORDER BY a.attnum),
                array_agg({SHORT_TYPE} ORDER BY a.attnum)
           FROM pg_class AS c
           JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
           JOIN pg_type AS t ON t.oid = a.atttypid
          WHERE c.relnamespace = 'vpk'::regnamespace AND c.relkind IN ('r', 'v')
          GROUP BY c.relname ORDER BY c.relname"
    );
    let mut problems = String::new();
    let mut relations = Vec::new();
    for row in client.query(&sql, &[]).expect("the relations") {
        let name: String = row.get(0);
        let (names, types): (Vec<String>, Vec<String>) = (row.get(1), row.get(2));
        let mut is: Vec<Column> = names.into_iter().zip(types).collect();
        let heading = format!("vpk.{name}");
        let text = sections.get(&heading);
        let mut said = text.map(|text| columns(&sections, text)).unwrap_or_default();
        // Columns that belong together share a row of the page's table.
        is.sort();
        said.sort();
        if said != is {
            problems.push_str(&format!("{heading}:\n  is        {is:?}\n  reference {said:?}\n"));
        }
        relations.push(heading);
    }
    for heading in sections.keys().filter(|heading| heading.starts_with("vpk.")) {
        if !relations.contains(heading) {
            problems.push_str(&format!("{heading}: there is no such relation\n"));
        }
    }
    assert!(problems.is_empty(), "{problems}");
}

/// The first cells of each row of a table, without backticks.
fn cells(text: &str, head: &str, count: usize) -> Vec<Vec<String>> {
    let plain = |cell: &String| cell.trim_matches('`').to_owned();
    table(text, head).iter().map(|row| row.iter().take(count).map(plain).collect()).collect()
}

/// The rows of a query whose columns are text.
fn rows(client: &mut Client, sql: &str) -> Vec<Vec<String>> {
    let found = client.query(sql, &[]).expect("rows");
    found.iter().map(|row| (0..row.len()).map(|at| row.get(at)).collect()).collect()
}

#[test]
fn the_reference_has_the_settings_statuses_and_items_as_they_are() {
    let (_cluster, mut client) = start();
    let sections = sections();
    let settings = "SELECT name, coalesce(nullif(current_setting(name), ''), 'empty'),
                           CASE context WHEN 'user' THEN 'anyone' WHEN 'superuser' THEN 'superuser'
                               WHEN 'sighup' THEN 'configuration file'
                               WHEN 'postmaster' THEN 'server start' ELSE context END
                      FROM pg_settings WHERE name LIKE 'vibepeak\\_keys.%' ORDER BY name";
    let said = cells(&sections["Settings"], "| setting | default | who can set it |", 3);
    assert_eq!(said, rows(&mut client, settings));

    let statuses = "SELECT status::text, http_status::text FROM vpk.status_codes";
    let said = cells(&sections["Statuses"], "| status | HTTP |", 2);
    assert_eq!(said, rows(&mut client, statuses));

    let items = "SELECT item FROM keys.vpk_doctor()";
    let said = cells(&sections["vpk_doctor"], "| item | `ok` is true if |", 1);
    assert_eq!(said, rows(&mut client, items));
}
