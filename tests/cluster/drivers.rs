//! The programs of docs/drivers.md run as they stand, and print what the page shows.

use std::fs;
use std::io;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use crate::support::Cluster;
use crate::support::known::run;

/// A program of the page, and what it prints.
struct Program {
    driver: String,
    text: String,
    output: String,
}

/// The programs under the headings of the page.
fn programs() -> Vec<Program> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/drivers.md");
    let page = fs::read_to_string(page).expect("a page");
    let block = |rest: &str| {
        let (_, block) = rest.split_once("```")?.1.split_once('\n')?;
        let (block, rest) = block.split_once("```")?;
        Some((block.to_owned(), rest.to_owned()))
    };
    let sections = page.split("\n## ").skip(1).map(|section| {
        let (driver, rest) = section.split_once('\n').expect("a heading");
        let (text, rest) = block(rest).unwrap_or_else(|| panic!("{driver}: a program"));
        let (output, _) = block(&rest).unwrap_or_else(|| panic!("{driver}: its output"));
        Program { driver: driver.to_owned(), text, output }
    });
    sections.collect()
}

/// What the environment names.
fn from_environment(variable: &str) -> PathBuf {
    PathBuf::from(std::env::var_os(variable).expect("run by tools/test/rust-tests cluster"))
}

/// A port on which the server's socket can be reached, for a driver that knows TCP alone.
fn forwarded(cluster: &Cluster) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("its address").port();
    let socket = format!("{}/.s.PGSQL.5432", cluster.socket());
    thread::spawn(move || {
        for client in listener.incoming() {
            let client = client.expect("a client");
            let server = UnixStream::connect(&socket).expect("the server");
            let (mut to_server, mut from_server) =
                (server.try_clone().expect("a handle"), server.try_clone().expect("a handle"));
            let mut to_client: TcpStream = client.try_clone().expect("a handle");
            let mut from_client = client;
            thread::spawn(move || {
                let _ = io::copy(&mut from_server, &mut to_client);
                let _ = to_client.shutdown(Shutdown::Both);
            });
            thread::spawn(move || {
                let _ = io::copy(&mut from_client, &mut to_server);
                let _ = server.shutdown(Shutdown::Both);
            });
        }
    });
    port
}

/// Where Debian's package has the driver.
const JDBC: &str = "/usr/share/java/postgresql.jar";

/// What runs a program; None where the machine cannot.
fn command(program: &Program, folder: &Path) -> Option<Command> {
    let write = |name: &str| {
        let file = folder.join(name);
        fs::write(&file, &program.text).expect("a file");
        file
    };
    let mut command = match program.driver.as_str() {
        "psycopg 2" | "psycopg 3" | "asyncpg" | "SQLAlchemy" => {
            let python = from_environment("VIBEPEAK_PYTHON_PACKAGES").join("bin/python");
            let mut command = Command::new(python);
            command.arg(write(&format!("with {}.py", program.driver)));
            command
        }
        "node-postgres" => {
            let modules = from_environment("VIBEPEAK_NODE_PACKAGES");
            symlink(modules, folder.join("node_modules")).expect("a link");
            let mut command = Command::new("node");
            command.arg(write("client.mjs"));
            command
        }
        "JDBC" => {
            if !Path::new(JDBC).exists() || Command::new("java").arg("-version").output().is_err() {
                return None;
            }
            let mut command = Command::new("java");
            command.args(["-cp", JDBC]).arg(write("Drivers.java"));
            command
        }
        "sqlx" => {
            let source = "tests/cluster/clients/sqlx/src/main.rs";
            let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(source);
            assert_eq!(fs::read_to_string(source).expect("the program"), program.text);
            Command::new(from_environment("VIBEPEAK_SQLX_CLIENT"))
        }
        driver => panic!("no program of {driver} is run"),
    };
    command.current_dir(folder);
    Some(command)
}

#[test]
fn the_program_of_every_driver_prints_what_the_page_shows() {
    let cluster = Cluster::start(&[]);
    run(
        &mut cluster.client(),
        "DROP EXTENSION vibepeak_keys; CREATE SCHEMA keys; CREATE EXTENSION vibepeak_keys SCHEMA keys",
    );
    let folder = cluster.data().with_file_name("drivers");
    fs::create_dir(&folder).expect("a folder");
    let port = forwarded(&cluster);
    let programs = programs();
    assert_eq!(programs.len(), 7);
    for program in &programs {
        let Some(mut command) = command(program, &folder) else {
            println!("{} cannot be run on this machine", program.driver);
            continue;
        };
        command.env("PGHOST", cluster.socket());
        command.envs([("PGUSER", "postgres"), ("PGDATABASE", "postgres")]);
        let url = format!("jdbc:postgresql://127.0.0.1:{port}/postgres?user=postgres");
        let output = command.env("JDBC_URL", url).output().expect("the program runs");
        let said = String::from_utf8_lossy(&output.stderr);
        let printed = String::from_utf8_lossy(&output.stdout);
        assert_eq!(printed, program.output, "{}: {said}", program.driver);
    }
}
