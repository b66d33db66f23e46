//! A minimal HTTP server that asks PostgreSQL who calls. Run:
//!   PGHOST=... PGDATABASE=... PGUSER=... cargo run --locked
use std::{collections::HashMap, env};

use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::{Json, Router, extract::State};
use deadpool_postgres::{Config, Object, Pool, PoolError};
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Error, NoTls, Row, types};

/// The headers are bind parameters: they never become part of the SQL text. The crate reads an enum
/// of SQL only into a type of its own, hence the cast to text.
///
/// The proxy in front of this service adds the client's address to X-Forwarded-For. Without a
/// proxy, pass the address of the connection instead: a client can send that header too.
const AUTHENTICATE: &str = "SELECT status::text, http_status, key_id, account, headers, error
    FROM keys.vpk_authenticate($1::text, client_ip => keys.vpk_client_ip($2::text))";

type Answer = (StatusCode, HeaderMap, Json<Value>);

/// How to connect, and a pool of connections.
#[derive(Clone)]
struct Database(Config, Pool);

/// The values of the two headers.
type Headers = [Option<String>; 2];

async fn ask(connection: &Object, [authorization, forwarded]: &Headers) -> Result<Row, Error> {
    let statement = connection.prepare_cached(AUTHENTICATE).await?;
    connection.query_one(&statement, &[authorization, forwarded]).await
}

/// Whether a new connection can mend it: this one was lost, or what it has prepared is no longer
/// valid.
fn mendable(error: &Error) -> bool {
    const CODES: [&str; 6] = ["0A000", "26000", "42P05", "57P01", "57P02", "57P03"];
    let code = error.code().map(SqlState::code);
    error.is_closed() || code.is_some_and(|code| CODES.contains(&code) || code.starts_with("08"))
}

/// The query changes nothing, so that it can be asked again.
async fn authenticate(
    Database(config, pool): &Database,
    headers: Headers,
) -> Result<Row, PoolError> {
    let connection = pool.get().await?; // a new one where the old one was closed
    match ask(&connection, &headers).await {
        Err(error) if mendable(&error) => eprintln!("asking again: {error}"),
        answer => return Ok(answer?),
    }
    drop(Object::take(connection)); // it does not go back to the pool, whose others may be as old
    let other = config.create_pool(None, NoTls).map_err(|_| PoolError::Closed)?;
    Ok(ask(&other.get().await?, &headers).await?)
}

/// Any byte may come: each is a character, and no key has one beyond ASCII.
fn text(value: &HeaderValue) -> String {
    value.as_bytes().iter().map(|&byte| char::from(byte)).collect()
}

async fn answer(State(database): State<Database>, headers: HeaderMap) -> Answer {
    // The last address is in the last of several headers.
    let authorization = headers.get("authorization").map(text);
    let forwarded = headers.get_all("x-forwarded-for").iter().next_back().map(text);
    let row = match authenticate(&database, [authorization, forwarded]).await {
        Ok(row) => row,
        Err(error) => {
            eprintln!("{error:?}"); // no database, no access
            let body = json!({"error": {"code": "UNAVAILABLE"}});
            return (StatusCode::SERVICE_UNAVAILABLE, HeaderMap::new(), Json(body));
        }
    };
    let (status, account): (&str, Option<&str>) = (row.get("status"), row.get("account"));
    println!("{status} {:?} {account:?}", row.get::<_, Option<uuid::Uuid>>("key_id"));
    if status != "VALID" {
        let http_status = StatusCode::from_u16(row.get::<_, i32>("http_status") as u16);
        let types::Json(headers): types::Json<HashMap<String, String>> = row.get("headers");
        let headers = HeaderMap::try_from(&headers).expect("header fields");
        return (http_status.expect("a status"), headers, Json(row.get("error")));
    }
    (StatusCode::OK, HeaderMap::new(), Json(json!({"hello": account})))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let variable = |name| env::var(name).ok();
    let user = variable("PGUSER").or(variable("USER")).ok_or("PGUSER is not set")?;
    let config = Config {
        host: variable("PGHOST"),
        port: variable("PGPORT").map(|port| port.parse()).transpose()?,
        dbname: variable("PGDATABASE").or(Some(user.clone())),
        user: Some(user),
        password: variable("PGPASSWORD"),
        ..Config::default()
    };
    let pool = config.create_pool(None, NoTls)?; // no TLS: the server is on this machine
    let port = variable("PORT").unwrap_or("8080".into());
    let listener = tokio::net::TcpListener::bind(format!("127.0.0.1:{port}")).await?;
    let mut terminate = signal(SignalKind::terminate())?; // ends when all requests have answers
    axum::serve(listener, Router::new().fallback(answer).with_state(Database(config, pool)))
        .with_graceful_shutdown(async move { _ = terminate.recv().await })
        .await?;
    Ok(())
}
