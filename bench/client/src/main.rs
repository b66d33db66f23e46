//! The load generator of bench/run.

mod awake;
mod cells;
mod competitors;
mod connection;
mod inside;
mod load;
mod request;
mod rounds;
mod statistics;
mod table;

use std::env;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

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
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["spin"] => awake::spin(),
        ["inside", server, rounds] => {
            println!("{}", inside::report(Path::new(server), rounds.parse()?)?);
        }
        ["table", server, rounds, seconds, cells] => {
            let groups = cells::chosen(cells);
            let time = Duration::from_secs_f64(seconds.parse()?);
            let results = rounds::run(Path::new(server), &groups, rounds.parse()?, time)?;
            println!("{}", table::markdown(&results)?);
        }
        _ => return Err("usage: inside SERVER ROUNDS | table SERVER ROUNDS SECONDS CELLS".into()),
    }
    Ok(())
}
