//! A session that is kept busy with verifications, for a profiler to look at.

use std::io::{self, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::cells::Protocol;
use crate::competitors::{Tokens, VERIFY};
use crate::connection::{Connection, Result};
use crate::load::Pool;
use crate::request::Request;

/// One statement for each verification, as over the wire, or many in one.
pub enum How {
    Wire,
    Inside,
}

/// Prints which process serves the session, and verifies 10 k keys over and over for a while.
pub fn drive(server: &Path, how: &How, time: Duration) -> Result<()> {
    let mut database = Connection::open(server)?;
    let pool = Pool::read(&mut database, Tokens::KeysInUse, &VERIFY)?;
    let mut request =
        Request::prepare(&VERIFY, Protocol::Prepared, pool.token_length(), &mut database)?;
    let mut round = |database: &mut Connection| -> Result<()> {
        match how {
            How::Wire => (0..pool.len()).try_for_each(|number| {
                let expected = VERIFY.answer(Tokens::KeysInUse);
                database.call(request.with(pool.get(number)), expected)
            }),
            How::Inside => {
                database.value("SELECT count(vpk_verify(token)) FROM bench.keys_in_use").map(|_| ())
            }
        }
    };

    // The profiler comes when the session has settled down.
    round(&mut database)?;
    println!("{}", database.backend);
    io::stdout().flush()?;
    let began = Instant::now();
    while began.elapsed() < time {
        round(&mut database)?;
    }
    Ok(())
}
