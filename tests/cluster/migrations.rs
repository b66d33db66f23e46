//! Migration tools that own an application's schema leave the extension alone, as
//! docs/migrations.md says.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::known::run;
use crate::support::{Client, Cluster};

/// The folder with the scripts for other programs, and their lists of packages.
fn clients() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cluster/clients")
}

/// A folder of packages, from tools/lib/pinned-packages.
fn packages(variable: &str) -> PathBuf {
    PathBuf::from(std::env::var_os(variable).expect("run by tools/test/rust-tests cluster"))
}

/// What a program prints; whether it succeeds.
fn output(command: &mut Command) -> (bool, String) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

/// The definition of everything in a database.
fn schema(cluster: &Cluster, database: &str) -> String {
    let mut dump = cluster.program("pg_dump");
    dump.args(["-s", "-h", &cluster.socket(), "-U", "postgres", database]);
    let (done, dump) = output(&mut dump);
    assert!(done, "{dump}");
    // The key of psql's restricted mode differs from dump to dump.
    let lines = dump.lines().filter(|line| !line.starts_with('\\'));
    lines.map(|line| format!("{line}\n")).collect()
}

/// A database with the extension: in a schema of its own, or in `public`.
fn database(cluster: &Cluster, extension: &str) -> (String, Client) {
    let name = format!("app_{extension}");
    run(&mut cluster.client(), &format!("CREATE DATABASE {name} TEMPLATE template0"));
    let mut client = cluster.connect(&name, "postgres");
    let schema = format!("CREATE SCHEMA IF NOT EXISTS {extension}");
    run(&mut client, &format!("{schema}; CREATE EXTENSION vibepeak_keys SCHEMA {extension}"));
    (name, client)
}

/// Runs drizzle-kit in a folder beside the server's data, where its configuration is.
struct Drizzle<'test> {
    cluster: &'test Cluster,
    database: &'test str,
    folder: PathBuf,
}

impl Drizzle<'_> {
    fn new<'test>(cluster: &'test Cluster, database: &'test str) -> Drizzle<'test> {
        let folder = cluster.data().with_file_name(format!("drizzle_{database}"));
        fs::create_dir(&folder).expect("a folder");
        for file in ["drizzle.config.js", "drizzle.schema.js"] {
            fs::copy(clients().join(file), folder.join(file)).expect("a file of the project");
        }
        let modules = packages("VIBEPEAK_NODE_PACKAGES");
        symlink(modules, folder.join("node_modules")).expect("a link");
        Drizzle { cluster, database, folder }
    }

    fn run(&self, arguments: &[&str]) -> (bool, String) {
        let mut node = Command::new("node");
        node.arg("node_modules/drizzle-kit/bin.cjs").args(arguments).current_dir(&self.folder);
        node.env("PGHOST", self.cluster.socket()).env("PGDATABASE", self.database);
        output(node.env("OUT", "./out"))
    }

    /// All that `introspect` has written.
    fn introspected(&self) -> String {
        let (done, said) = self.run(&["introspect"]);
        assert!(done, "{said}");
        let file = |name: &str| fs::read_to_string(self.folder.join("out").join(name));
        file("schema.ts").expect("the tables it found")
    }
}

#[test]
fn drizzle_kit_leaves_the_extension_alone() {
    let cluster = Cluster::start(&[]);
    for extension in ["keys", "public"] {
        let (name, mut client) = database(&cluster, extension);
        let drizzle = Drizzle::new(&cluster, &name);
        let (done, said) = drizzle.run(&["push", "--force"]);
        assert!(done && said.contains("Changes applied"), "{said}");
        run(&mut client, "INSERT INTO orders VALUES (1, 'open')");
        let before = schema(&cluster, &name);
        assert!(before.contains("CREATE TABLE public.orders"), "{before}");

        let (done, said) = drizzle.run(&["push", "--force"]);
        assert!(done && said.contains("No changes detected"), "{said}");
        let found = drizzle.introspected();
        assert!(found.contains("orders") && !found.contains("vpk"), "{found}");
        assert_eq!(schema(&cluster, &name), before);

        // It would not leave a type alone in the schema that it manages, where it was before 0.7.0.
        run(&mut client, "ALTER TYPE vpk.vpk_status SET SCHEMA public");
        let (_, said) = drizzle.run(&["push", "--force"]);
        assert!(said.contains("cannot drop type vpk_status"), "{said}");
    }
}

#[test]
fn alembic_leaves_the_extension_alone() {
    let cluster = Cluster::start(&[]);
    let page = fs::read_to_string(clients().join("../../../docs/migrations.md")).expect("a page");
    let (_, rest) = page.split_once("```python\n").expect("the function for env.py");
    let (include_name, _) = rest.split_once("```").expect("its end");
    let configuration = cluster.data().with_file_name("include_name.py");
    fs::write(&configuration, include_name).expect("a file");
    for extension in ["keys", "public"] {
        let (name, mut client) = database(&cluster, extension);
        run(&mut client, "CREATE TABLE orders (id integer PRIMARY KEY)");
        let python = packages("VIBEPEAK_PYTHON_PACKAGES").join("bin/python");
        let url = format!("postgresql+psycopg://postgres@/{name}?host={}", cluster.socket());
        let differences = |options: Option<&Path>| {
            let mut alembic = Command::new(&python);
            output(alembic.arg(clients().join("alembic_differences.py")).arg(&url).args(options))
        };
        assert_eq!(differences(None), (true, String::new()));
        assert_eq!(differences(Some(&configuration)), (true, String::new()));
        // With all schemas, it would drop each table of ours.
        fs::write(&configuration, "def include_name(*_): return True").expect("a file");
        let (done, said) = differences(Some(&configuration));
        assert!(done && said.contains("remove_table"), "{said}");
        fs::write(&configuration, include_name).expect("a file");
    }
}
