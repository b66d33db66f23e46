//! An API whose callers have API keys. Run:
//!   PGHOST=... PGDATABASE=... PGUSER=... cargo run --locked
mod api_keys;

use std::env;
use std::time::Duration;

use api_keys::{Caller, Denial, Keys, Needs, as_task, require_key};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Extension, Json, Router, middleware};
use serde_json::{Value, json};
use sqlx::postgres::PgPoolOptions;
use tokio::signal::unix::{SignalKind, signal};
use uuid::Uuid;

/// Open to everybody. Whether this service can answer depends on the database.
async fn health(State(keys): State<Keys>) -> Result<Json<Value>, Denial> {
    keys.ask("SELECT 1", &[]).await.map_err(Denial::unavailable)?;
    Ok(Json(json!({"status": "ok"})))
}

async fn read_task(Path(id): Path<String>, Extension(caller): Extension<Caller>) -> Json<Value> {
    Json(json!({"id": id, "account": caller.account, "status": "done"}))
}

async fn create_task(
    State(keys): State<Keys>,
    Extension(caller): Extension<Caller>,
) -> Result<(StatusCode, Json<Value>), Denial> {
    let account = caller.account.clone();
    let task = as_task(keys, &caller, |tasks| async move {
        // Here the task does its work.
        json!({"id": Uuid::new_v4().to_string(), "account": account, "status": "done",
               "running": tasks.running, "allowed": tasks.allowed})
    });
    Ok((StatusCode::CREATED, Json(task.await?)))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // A connection that was lost is replaced when it is used: see Keys::ask.
    let pool =
        PgPoolOptions::new().acquire_timeout(Duration::from_secs(5)).test_before_acquire(false);
    // PGHOST, PGDATABASE, PGUSER, ... say where.
    let pool = pool.connect_lazy_with(Default::default());
    let keys = Keys { pool, named_statements: env::var_os("UNNAMED_STATEMENTS").is_none() };
    let key = |needs| middleware::from_fn_with_state((keys.clone(), needs), require_key);
    let (to_read, to_create) =
        (Needs { scope: None, cost: 1 }, Needs { scope: Some("tasks:write"), cost: 0 });
    let routes = Router::new()
        .route("/health", get(health))
        .route("/v1/tasks/{id}", get(read_task).layer(key(to_read)))
        .route("/v1/tasks", post(create_task).layer(key(to_create)))
        .with_state(keys.clone());
    let port = env::var("PORT").unwrap_or("8080".into());
    let listener = tokio::net::TcpListener::bind(format!("127.0.0.1:{port}")).await?;
    let mut terminate = signal(SignalKind::terminate())?; // ends when all requests have answers
    axum::serve(listener, routes)
        .with_graceful_shutdown(async move { _ = terminate.recv().await })
        .await?;
    Ok(())
}
