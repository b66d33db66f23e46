//! Guards the routes of an axum application with API keys. Copy this file: it needs a pool of sqlx,
//! and nothing else of this example.
use std::collections::HashMap;
use std::time::Duration;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use sqlx::postgres::{PgConnection, PgPool, PgRow};
use sqlx::{ConnectOptions, Connection, Error, Row, types};
use uuid::Uuid;

/// The headers are bind parameters: they never become part of the SQL text.
const AUTHENTICATE: &str = "
    SELECT status::text, http_status, key_id, account, request_id, headers, error
      FROM keys.vpk_authenticate($1::text, scope => $2::text, request_id => $3::text,
                                 client_ip => keys.vpk_client_ip($4::text),
                                 cost => $5::text::integer)";
const START_TASK: &str = "
    SELECT status::text, http_status, lease, running, allowed, headers, error
      FROM keys.vpk_task_start($1::text, request_id => $2::text,
                               client_ip => keys.vpk_client_ip($3::text))";
const FINISH_TASK: &str = "SELECT keys.vpk_task_finish($1::text::uuid)";

/// A database that hangs must not hold requests for long.
const PATIENCE: Duration = Duration::from_secs(5);

/// The database of the keys.
#[derive(Clone)]
pub struct Keys {
    pub pool: PgPool,
    /// Not with pgbouncer before 1.21, which mixes up named statements: see docs/poolers.md.
    pub named_statements: bool,
}

/// The response to a request that is denied.
pub struct Denial {
    status: StatusCode,
    headers: HeaderMap,
    body: Value,
}

impl IntoResponse for Denial {
    fn into_response(self) -> Response {
        (self.status, self.headers, Json(self.body)).into_response()
    }
}

impl Denial {
    /// None if the key is valid.
    fn of(row: &PgRow) -> Option<Denial> {
        if row.get::<&str, _>("status") == "VALID" {
            return None;
        }
        let status = StatusCode::from_u16(row.get::<i32, _>("http_status") as u16);
        let types::Json(headers): types::Json<HashMap<String, String>> = row.get("headers");
        Some(Denial {
            status: status.expect("a status"),
            headers: HeaderMap::try_from(&headers).expect("header fields"),
            body: row.get("error"),
        })
    }

    /// Without an answer from the database there is no access.
    pub fn unavailable(error: Error) -> Denial {
        eprintln!("{error}");
        let message = "The service is temporarily unavailable";
        Denial {
            status: StatusCode::SERVICE_UNAVAILABLE,
            headers: HeaderMap::new(),
            body: json!({"error": {"code": "UNAVAILABLE", "message": message}}),
        }
    }
}

impl Keys {
    async fn row(
        &self,
        connection: &mut PgConnection,
        sql: &str,
        values: &[Option<String>],
    ) -> Result<PgRow, Error> {
        let query = values.iter().fold(sqlx::query(sql), |query, value| query.bind(value.clone()));
        if self.named_statements {
            return query.fetch_one(connection).await;
        }
        // In a transaction, since sqlx sends parsing and execution separately.
        let mut transaction = connection.begin().await?;
        let row = query.persistent(false).fetch_one(&mut *transaction).await?;
        transaction.commit().await?;
        Ok(row)
    }

    async fn ask_once(&self, sql: &str, values: &[Option<String>]) -> Result<PgRow, Error> {
        let asked = async {
            let mut connection = self.pool.acquire().await?;
            let row = self.row(&mut connection, sql, values).await;
            if row.as_ref().is_err_and(mendable) {
                connection.close_on_drop(); // it does not go back to the pool
            }
            row
        };
        tokio::time::timeout(PATIENCE, asked).await.unwrap_or(Err(Error::PoolTimedOut))
    }

    /// Asks the database, and once more on a new connection where that can help: so only what can
    /// be repeated without harm.
    pub async fn ask(&self, sql: &str, values: &[Option<String>]) -> Result<PgRow, Error> {
        match self.ask_once(sql, values).await {
            Err(error) if mendable(&error) => eprintln!("asking again: {error}"),
            answer => return answer,
        }
        let asked = async {
            // the pool's other connections may be as old
            let mut connection = self.pool.connect_options().connect().await?;
            let row = self.row(&mut connection, sql, values).await?;
            connection.close().await?;
            Ok(row)
        };
        tokio::time::timeout(PATIENCE, asked).await.unwrap_or(Err(Error::PoolTimedOut))
    }
}

/// Whether a new connection can mend it: this one was lost, or what it has prepared is no longer
/// valid.
fn mendable(error: &Error) -> bool {
    const CODES: [&str; 6] = ["0A000", "26000", "42P05", "57P01", "57P02", "57P03"];
    match error {
        Error::Io(_) | Error::Protocol(_) => true,
        Error::Database(error) => {
            error.code().is_some_and(|code| CODES.contains(&&*code) || code.starts_with("08"))
        }
        _ => false,
    }
}

/// Who calls, and what a task of theirs needs.
#[derive(Clone)]
pub struct Caller {
    pub account: String,
    pub request_id: String,
    token: Option<String>,
    address: Option<String>,
}

/// Any byte may come: each is a character, and no key has one beyond ASCII.
fn text(value: &HeaderValue) -> String {
    value.as_bytes().iter().map(|&byte| char::from(byte)).collect()
}

/// What a route needs.
#[derive(Clone, Copy)]
pub struct Needs {
    pub scope: Option<&'static str>,
    /// What a request takes of rate limits and quotas: 0 if it starts a task, since `as_task` takes
    /// it then.
    pub cost: i32,
}

/// The middleware of a route that needs a key, and a scope if one is named.
pub async fn require_key(
    State((keys, needs)): State<(Keys, Needs)>,
    mut request: Request,
    next: Next,
) -> Result<Response, Denial> {
    let headers = request.headers();
    let authorization = headers.get("authorization").map(text);
    // The proxy in front of this service adds the client's address to X-Forwarded-For: the last
    // address in the last of several headers. Without a proxy, take the address of the connection
    // instead: a client can send that header too.
    let address = headers.get_all("x-forwarded-for").iter().next_back().map(text);
    let request_id = headers.get("x-request-id").map(text);
    let token = authorization.as_ref().and_then(|value| value.split_whitespace().last());
    let token = token.map(str::to_owned); // after "Bearer", if the key is valid

    let (scope, cost) = (needs.scope.map(str::to_owned), Some(needs.cost.to_string()));
    let values = [authorization, scope, request_id, address.clone(), cost];
    let row = keys.ask(AUTHENTICATE, &values).await.map_err(Denial::unavailable)?;
    let (status, request_id): (&str, String) = (row.get("status"), row.get("request_id"));
    let (key_id, account): (Option<Uuid>, Option<String>) = (row.get("key_id"), row.get("account"));
    println!("{status} {key_id:?} {account:?} {request_id}");
    if let Some(denial) = Denial::of(&row) {
        return Err(denial);
    }
    let header = HeaderValue::from_str(&request_id).expect("printable ASCII");
    let account = account.expect("an account");
    request.extensions_mut().insert(Caller { account, request_id, token, address });
    let mut response = next.run(request).await;
    response.headers_mut().insert(HeaderName::from_static("x-request-id"), header);
    Ok(response)
}

/// How many tasks of an account run, and how many may.
pub struct Running {
    pub running: i32,
    pub allowed: Option<i32>,
}

/// Does the work as one of the concurrent tasks that the account's plan allows. It costs 1 of rate
/// limits and quotas. The start is asked once: if its answer is lost, the task may have started.
/// Its lease ends after 15 minutes then.
pub async fn as_task<W, T>(
    keys: Keys,
    caller: &Caller,
    work: impl FnOnce(Running) -> W,
) -> Result<T, Denial>
where
    W: Future<Output = T> + Send + 'static,
    T: Send + 'static,
{
    let values = [caller.token.clone(), Some(caller.request_id.clone()), caller.address.clone()];
    let row = keys.ask_once(START_TASK, &values).await.map_err(Denial::unavailable)?;
    if let Some(denial) = Denial::of(&row) {
        return Err(denial);
    }
    let lease: Uuid = row.get("lease");
    let work = work(Running { running: row.get("running"), allowed: row.get("allowed") });
    // On its own, so that the lease is given back even if the client hangs up.
    let done = tokio::spawn(async move {
        let result = work.await;
        if let Err(error) = keys.ask(FINISH_TASK, &[Some(lease.to_string())]).await {
            eprintln!("{error}");
        }
        result
    });
    Ok(done.await.expect("work does not panic"))
}
