use serde_json::{Value, json};
use sqlx::postgres::{PgConnectOptions, types::PgInterval};
use sqlx::{ConnectOptions, types::Uuid};

#[tokio::main(flavor = "current_thread")]
async fn main() -> sqlx::Result<()> {
    let mut connection = PgConnectOptions::new().connect().await?;
    let (id, token): (Uuid, String) = sqlx::query_as(
        "SELECT id, token FROM keys.vpk_create($1::text, expires_at => 'infinity',
             scopes => $2::text[], allowed_ips => $3::text[]::cidr[], metadata => $4::jsonb)",
    )
    .bind("CI")
    .bind(["read"])
    .bind(["192.0.2.0/24"])
    .bind(json!({"team": 7}))
    .fetch_one(&mut connection)
    .await?;
    let (status, caller, metadata): (String, Uuid, Value) = sqlx::query_as(
        "SELECT status::text, key_id, metadata
           FROM keys.vpk_authenticate($1::text, client_ip => $2::text::inet)",
    )
    .bind(format!("Bearer {token}"))
    .bind("192.0.2.7")
    .fetch_one(&mut connection)
    .await?;
    println!("{status} {} {metadata}", caller == id);
    let hour = PgInterval { months: 0, days: 0, microseconds: 3_600_000_000 };
    let successor: Uuid = sqlx::query_scalar("SELECT id FROM keys.vpk_rotate($1, grace => $2)")
        .bind(id)
        .bind(hour)
        .fetch_one(&mut connection)
        .await?;
    let uses: i64 = sqlx::query_scalar("SELECT uses FROM keys.vpk_list(id => $1)")
        .bind(successor)
        .fetch_one(&mut connection)
        .await?;
    println!("{uses}");
    Ok(())
}
