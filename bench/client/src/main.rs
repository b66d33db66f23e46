//! The load generator of bench/run.

mod connection;
mod inside;
mod statistics;

use std::env;
use std::path::Path;
use std::process::ExitCode;

use connection::Result;

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
    match arguments {
        [what, server, rounds] if what == "inside" => {
            println!("{}", inside::report(Path::new(server), rounds.parse()?)?);
            Ok(())
        }
        _ => Err("usage: inside SERVER ROUNDS".into()),
    }
}
