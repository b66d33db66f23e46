//! A minimal HTTP server that asks PostgreSQL who calls. Run:
//!   PGHOST=... PGDATABASE=... PGUSER=... cargo run --locked
use std::{collections::HashMap, env};

use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::{Json, Router, extract::State};
use deadpool_postgres::{Config, Pool, PoolError};
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};
use tokio_postgres::{NoTls, Row, types};

/// The headers are bind parameters: they never become part of the SQL text. The crate reads an enum
/// of SQL only into a type of its own, hence the cast to text.
///
/// The proxy in front of this service adds the client's address to X-Forwarded-For. Without a
/// proxy, pass the address of the connection instead: a client can send that header too.
const AUTHENTICATE: &str = "SELECT status::text, http_status, key_id, account, headers, error
    FROM keys.vpk_authenticate($1::text, client_ip => keys.vpk_client_ip($2::text))";

type Answer = (StatusCode, HeaderMap, Json<Value>);

async fn authenticate(pool: &Pool, headers: &HeaderMap) -> Result<Row, PoolError> {
    // The last address is in the last of several headers.
    let authorization = headers.get("authorization").map(text);
    let forwarded = headers.get_all("x-forwarded-for").iter().next_back().map(text);
    let connection = pool.get().await?; // a new one where the old one was closed
    let statement = connection.prepare_cached(AUTHENTICATE).await?;
    Ok(connection.query_one(&statement, &[&authorization, &forwarded]).await?)
}

/// Any byte may come: each is a character, and no key has one beyond ASCII.
fn text(value: &HeaderValue) -> String {
    value.as_bytes().iter().map(|&byte| char::from(byte)).collect()
}

async fn answer(State(pool): State<Pool>, headers: HeaderMap) -> Answer {
    let row = match authenticate(&pool, &headers).await {
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
    axum::serve(listener, Router::new().fallback(answer).with_state(pool))
        .with_graceful_shutdown(async move { _ = terminate.recv().await })
        .await?;
    Ok(())
}
