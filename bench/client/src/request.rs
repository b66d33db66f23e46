//! Requests as they go over the wire, made once; only the token changes from call to call.

use bytes::BytesMut;
use postgres_protocol::IsNull;
use postgres_protocol::message::frontend;

use crate::cells::Protocol;
use crate::competitors::Competitor;
use crate::connection::{Connection, Result};

const STATEMENT: &str = "competitor";

#[derive(Clone)]
pub struct Request {
    bytes: Vec<u8>,
    /// Where the token is.
    token: Option<usize>,
}

impl Request {
    /// The request for a call, with a token of this length. What has to be prepared for it, is.
    ///
    /// The messages are those of libpq: PQexec, PQexecParams, PQexecPrepared.
    pub fn prepare(
        competitor: &Competitor,
        protocol: Protocol,
        token_length: usize,
        connection: &mut Connection,
    ) -> Result<Self> {
        Self::prepare_as(STATEMENT, competitor, protocol, token_length, connection)
    }

    /// The same, with a name for what is prepared.
    pub fn prepare_as(
        statement: &str,
        competitor: &Competitor,
        protocol: Protocol,
        token_length: usize,
        connection: &mut Connection,
    ) -> Result<Self> {
        if let Some(setting) = competitor.setting {
            connection.query(setting)?;
        }
        // Occurs nowhere else.
        let blank = "\u{1}".repeat(token_length);
        let parameter = format!("{}{blank}", competitor.scheme);
        let sql = competitor.sql;
        let mut bytes = BytesMut::new();
        match protocol {
            Protocol::Simple => {
                frontend::query(&sql.replace("$1", &format!("'{parameter}'")), &mut bytes)?;
            }
            Protocol::Extended => {
                frontend::parse("", sql, [], &mut bytes)?;
                execute("", sql, &parameter, &mut bytes)?;
            }
            Protocol::Prepared => {
                let mut prepare = BytesMut::new();
                frontend::parse(statement, sql, [], &mut prepare)?;
                frontend::sync(&mut prepare);
                connection.command(&prepare)?;
                execute(statement, sql, &parameter, &mut bytes)?;
            }
        }
        let token = bytes.windows(token_length).position(|window| window == blank.as_bytes());
        Ok(Self { bytes: bytes.to_vec(), token })
    }

    /// The request with this token.
    pub fn with(&mut self, token: &[u8]) -> &[u8] {
        if let Some(at) = self.token {
            self.bytes[at..at + token.len()].copy_from_slice(token);
        }
        &self.bytes
    }
}

fn execute(statement: &str, sql: &str, parameter: &str, bytes: &mut BytesMut) -> Result<()> {
    let parameters = if sql.contains("$1") { vec![parameter] } else { vec![] };
    let text = |value: &str, bytes: &mut BytesMut| {
        bytes.extend_from_slice(value.as_bytes());
        Ok(IsNull::No)
    };
    frontend::bind("", statement, [], parameters, text, [0], bytes)
        .map_err(|_| "a parameter cannot be sent")?;
    frontend::describe(b'P', "", bytes)?;
    frontend::execute("", 0, bytes)?;
    frontend::sync(bytes);
    Ok(())
}
