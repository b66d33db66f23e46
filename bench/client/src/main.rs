//! The load generator of bench/run.

mod awake;
mod cells;
mod competitors;
mod connection;
mod inside;
mod load;
mod machine;
mod pgbench;
mod plot;
mod process;
mod report;
mod request;
mod rounds;
mod statistics;
mod table;

use std::env;
use std::path::Path;
use std::process::ExitCode;

use connection::Result;
use report::Options;

const USAGE: &str =
    "usage: report SERVER PROGRAMS RESULTS ROUNDS SECONDS CELLS | inside SERVER ROUNDS";

fn main() -> ExitCode {
    match run(&env::args().skip(1).collect::<Vec<_>>()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<()> {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["report", server, programs, results, rounds, seconds, cells] => report::write(&Options {
            server: Path::new(server),
            programs: Path::new(programs),
            results: Path::new(results),
            rounds: rounds.parse()?,
            seconds: seconds.parse()?,
            cells,
        }),
        ["inside", server, rounds] => {
            println!("{}", inside::report(Path::new(server), rounds.parse()?)?);
            Ok(())
        }
        // What keeps the processors awake.
        ["spin"] => {
            awake::spin();
            Ok(())
        }
        _ => Err(USAGE.into()),
    }
}
