//! A connection to the server: one write and one wait for each call, and no more looking at the
//! answer than it takes to know that it is the right one.

use std::error::Error;
use std::fmt;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use bytes::BytesMut;
use postgres_protocol::message::frontend;

/// What goes wrong ends the benchmark: a message for the user.
pub type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// An error of the server's.
#[derive(Debug)]
pub struct ServerError {
    pub sqlstate: String,
    text: String,
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Error for ServerError {}

/// A row: its columns as text, or null.
pub type Row = Vec<Option<String>>;

pub struct Connection {
    stream: UnixStream,
    input: Vec<u8>,
    /// The process that serves this connection.
    pub backend: u32,
}

/// What a call has to answer.
#[derive(Clone, Copy, Debug)]
pub enum Answer {
    /// One row that begins with this.
    Value(&'static str),
    /// One row that does not begin with null.
    Row,
    /// No row.
    Nothing,
}

/// One message of the server's.
struct Message<'a> {
    tag: u8,
    body: &'a [u8],
}

impl Connection {
    /// Connects as the superuser of a server that trusts whoever reaches its socket.
    pub fn open(server: &Path) -> Result<Self> {
        let stream = UnixStream::connect(server.join(".s.PGSQL.5432"))?;
        let mut connection = Self { stream, input: vec![0; 1 << 16], backend: 0 };
        let parameters = [
            ("user", "postgres"),
            ("database", "postgres"),
            ("application_name", "bench"),
            ("client_encoding", "UTF8"),
        ];
        let mut request = BytesMut::new();
        frontend::startup_message(parameters, &mut request)?;
        let mut backend = 0;
        connection.exchange(&request, |message| {
            if message.tag == b'K' {
                backend = u32::from_be_bytes(field(message.body, 0)?);
            }
            Ok(())
        })?;
        connection.backend = backend;
        Ok(connection)
    }

    /// Runs SQL and returns its rows.
    pub fn query(&mut self, sql: &str) -> Result<Vec<Row>> {
        let mut request = BytesMut::new();
        frontend::query(sql, &mut request)?;
        let mut rows = Vec::new();
        self.exchange(&request, |message| {
            if message.tag == b'D' {
                rows.push(row(message.body)?);
            }
            Ok(())
        })
        .map_err(|error| format!("{sql}: {error}"))?;
        Ok(rows)
    }

    /// Runs SQL that returns one row with one column.
    pub fn value(&mut self, sql: &str) -> Result<String> {
        match self.query(sql)?.as_slice() {
            [row] if row.len() == 1 => Ok(row[0].clone().unwrap_or_default()),
            rows => Err(format!("{sql}: {} rows where one value was expected", rows.len()).into()),
        }
    }

    /// Sends a request and holds its answer against the one that is expected.
    pub fn call(&mut self, request: &[u8], expected: Answer) -> Result<()> {
        let mut rows = 0;
        self.exchange(request, |message| {
            if message.tag != b'D' {
                return Ok(());
            }
            rows += 1;
            match expected {
                Answer::Row if first_column(message.body)?.is_some() => Ok(()),
                Answer::Value(value) if first_column(message.body)? == Some(value.as_bytes()) => {
                    Ok(())
                }
                _ => Err(format!("{:?} is not {expected:?}", row(message.body)?).into()),
            }
        })?;
        match (rows, expected) {
            (0, Answer::Nothing) | (1, Answer::Row | Answer::Value(_)) => Ok(()),
            _ => Err(format!("{rows} rows are not {expected:?}").into()),
        }
    }

    /// Sends a request and returns the last row of its answer.
    pub fn row(&mut self, request: &[u8]) -> Result<Option<Row>> {
        let mut last = None;
        self.exchange(request, |message| {
            if message.tag == b'D' {
                last = Some(row(message.body)?);
            }
            Ok(())
        })?;
        Ok(last)
    }

    /// Sends a request that has no rows to answer with.
    pub fn command(&mut self, request: &[u8]) -> Result<()> {
        self.exchange(request, |_| Ok(()))
    }

    /// Sends a request and passes every message of the answer on.
    fn exchange(
        &mut self,
        request: &[u8],
        mut each: impl FnMut(&Message) -> Result<()>,
    ) -> Result<()> {
        self.stream.write_all(request)?;
        let mut filled = 0;
        let mut failed = None;
        loop {
            if filled == self.input.len() {
                self.input.resize(filled * 2, 0);
            }
            let read = self.stream.read(&mut self.input[filled..])?;
            if read == 0 {
                let lost = || io::Error::from(io::ErrorKind::UnexpectedEof).into();
                return Err(failed.unwrap_or_else(lost));
            }
            filled += read;

            let mut at = 0;
            while let Some(message) = message(&self.input[at..filled]) {
                at += 5 + message.body.len();
                match message.tag {
                    b'Z' => return failed.map_or(Ok(()), Err),
                    b'E' => failed = Some(error(message.body).into()),
                    _ => each(&message)?,
                }
            }
            self.input.copy_within(at..filled, 0);
            filled -= at;
        }
    }
}

/// The first message in what has come, where it is complete.
fn message(input: &[u8]) -> Option<Message<'_>> {
    let (head, rest) = input.split_at_checked(5)?;
    let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
    Some(Message { tag: head[0], body: rest.get(..length.checked_sub(4)?)? })
}

/// A field of a fixed size in a message.
fn field<const N: usize>(body: &[u8], at: usize) -> Result<[u8; N]> {
    let bytes = body.get(at..at + N).ok_or("a message of the server's ends too early")?;
    Ok(bytes.try_into()?)
}

/// The first column of a row, or nothing where it is null.
fn first_column(body: &[u8]) -> Result<Option<&[u8]>> {
    let length = i32::from_be_bytes(field(body, 2)?);
    Ok(match usize::try_from(length) {
        Err(_) => None,
        Ok(length) => Some(body.get(6..6 + length).ok_or("a row ends too early")?),
    })
}

fn row(body: &[u8]) -> Result<Row> {
    let columns = u16::from_be_bytes(field(body, 0)?);
    let mut at = 2;
    let mut row = Vec::new();
    for _ in 0..columns {
        let length = i32::from_be_bytes(field(body, at)?);
        at += 4;
        row.push(match usize::try_from(length) {
            Err(_) => None,
            Ok(length) => {
                let bytes = body.get(at..at + length).ok_or("a row ends too early")?;
                at += length;
                Some(String::from_utf8_lossy(bytes).into_owned())
            }
        });
    }
    Ok(row)
}

/// Its SQLSTATE, and severity and text.
fn error(body: &[u8]) -> ServerError {
    let mut error = ServerError { sqlstate: String::new(), text: String::new() };
    for field in body.split(|byte| *byte == 0) {
        let [code, value @ ..] = field else { continue };
        let value = String::from_utf8_lossy(value);
        match code {
            b'C' => error.sqlstate = value.into_owned(),
            b'S' => error.text = value.into_owned(),
            b'M' => error.text = format!("{}: {value}", error.text),
            _ => {}
        }
    }
    error
}
