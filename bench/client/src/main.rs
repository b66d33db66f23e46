//! The load generator of bench/run.

mod cells;
mod competitors;
mod connection;
mod drive;
mod first;
mod inside;
mod load;
mod machine;
mod pgbench;
mod plot;
mod process;
mod processors;
mod reach;
mod report;
mod request;
mod rounds;
mod statistics;
mod table;
mod tasks;
mod versions;
mod work;

use std::env;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use connection::Result;
use drive::How;
use report::Options;

const USAGE: &str = "usage: report SERVER PROGRAMS RESULTS ROUNDS SECONDS CELLS | \
     reach SERVER ROUNDS SECONDS CELLS | inside SERVER ROUNDS | \
     first SERVER ROUNDS | tasks SERVER LEASES ROUNDS SECONDS CELLS | \
     drive SERVER wire|inside SECONDS | versions BASE NEW ROUNDS SECONDS";

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
        ["reach", server, rounds, seconds, cells] => reach::print(
            Path::new(server),
            rounds.parse()?,
            Duration::from_secs_f64(seconds.parse()?),
            cells,
        ),
        ["first", server, rounds] => first::report(Path::new(server), rounds.parse()?),
        ["tasks", server, leases, rounds, seconds, cells] => tasks::report(
            Path::new(server),
            &leases.split(' ').map(str::parse).collect::<std::result::Result<Vec<u64>, _>>()?,
            rounds.parse()?,
            Duration::from_secs_f64(seconds.parse()?),
            cells,
        ),
        ["inside", server, rounds] => {
            let (server, rounds) = (Path::new(server), rounds.parse()?);
            println!("{}", inside::report(server, rounds)?);
            println!("{}", inside::table_of_rows(&inside::rows(server, rounds, "")?)?);
            Ok(())
        }
        ["drive", server, how, seconds] => {
            let how = if how == "wire" { How::Wire } else { How::Inside };
            drive::drive(Path::new(server), &how, Duration::from_secs_f64(seconds.parse()?))
        }
        ["versions", base, new, rounds, seconds] => versions::report(
            Path::new(base),
            Path::new(new),
            rounds.parse()?,
            Duration::from_secs_f64(seconds.parse()?),
        ),
        // What keeps the processors awake.
        ["spin"] => {
            processors::spin();
            Ok(())
        }
        _ => Err(USAGE.into()),
    }
}
