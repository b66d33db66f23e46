//! A minimal HTTP server that asks PostgreSQL who calls. Run:
//!   DATABASE_URL="host=... dbname=... user=..." cargo run
use serde_json::{Value, json};
use tiny_http::{Header, Request, Response, Server};

/// The header is a bind parameter: it never becomes part of the SQL text. The crate reads an enum
/// of SQL only into a type of its own, hence the cast to text.
const AUTHENTICATE: &str = "SELECT status::text, http_status, key_id, account, headers, error
                              FROM vpk_authenticate($1)";

fn send(request: Request, status: i32, headers: &Value, body: &Value) -> std::io::Result<()> {
    let mut response = Response::from_string(body.to_string()).with_status_code(status as u16);
    let json = ("Content-Type", "application/json");
    let given = headers.as_object().into_iter().flatten();
    let given = given.filter_map(|(name, value)| Some((name.as_str(), value.as_str()?)));
    for (name, value) in given.chain([json]) {
        response.add_header(Header::from_bytes(name, value).expect("a header field"));
    }
    request.respond(response)
}

fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let port = std::env::var("PORT").unwrap_or("8080".into());
    let mut database = postgres::Client::connect(&std::env::var("DATABASE_URL")?, postgres::NoTls)?;
    let authenticate = database.prepare(AUTHENTICATE)?;
    for request in Server::http(format!("127.0.0.1:{port}"))?.incoming_requests() {
        let header = request.headers().iter().find(|header| header.field.equiv("Authorization"));
        let header = header.map(|header| header.value.as_str());
        let Ok(row) = database.query_one(&authenticate, &[&header]) else {
            // No database, no access. A real service would connect again.
            send(request, 503, &json!({}), &json!({"error": {"code": "UNAVAILABLE"}}))?;
            continue;
        };
        let (status, account): (&str, Option<&str>) = (row.get("status"), row.get("account"));
        println!("{status} {:?} {account:?}", row.get::<_, Option<uuid::Uuid>>("key_id"));
        match status {
            "VALID" => send(request, 200, &json!({}), &json!({"hello": account}))?,
            _ => send(request, row.get("http_status"), &row.get("headers"), &row.get("error"))?,
        }
    }
    Ok(())
}
