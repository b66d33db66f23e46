//! G2: names that are not ASCII, in databases of several encodings.

use crate::support::{Cluster, value};

/// G2: names and bodies in the encodings of other databases: the bytes of a plan's name come back
/// in the body of a refusal as they were, and what ASCII asks for is not taken for something else.
#[test]
fn names_are_stored_and_shown_in_other_encodings() {
    let cluster = Cluster::start(&[]);
    for encoding in ["UTF8", "LATIN1", "SQL_ASCII"] {
        let database = encoding.to_lowercase();
        cluster.database(&database, encoding);
        let mut client = cluster.connect(&database, "postgres");
        // "Prämie" and "Zoë", as bytes of the encoding.
        let (plan, account): (&[u8], &[u8]) = match encoding {
            "UTF8" => ("Prämie".as_bytes(), "Zoë".as_bytes()),
            _ => (b"Pr\xe4mie", b"Zo\xeb"),
        };
        client
            .batch_execute(&format!(
                "CREATE FUNCTION text_of(bytea) RETURNS text LANGUAGE sql
                     RETURN convert_from($1, '{encoding}');
                 CREATE FUNCTION bytes_of(text) RETURNS bytea LANGUAGE sql
                     RETURN convert_to($1, '{encoding}')"
            ))
            .expect("functions");
        let sql = "INSERT INTO vpk.plans (plan, api_access) VALUES (text_of($1), false)";
        client.execute(sql, &[&plan]).expect("a plan");
        let sql = "SELECT vpk_set_plan(text_of($1), text_of($2))";
        client.execute(sql, &[&account, &plan]).expect("an account");
        let sql = "SELECT token FROM vpk_create(text_of($1), account => text_of($1))";
        let token = value(&mut client, sql, &[&account]);

        let sql = "SELECT status::text, bytes_of(account), request_id ~ '^req_[0-9A-Za-z]{24}$',
                          bytes_of(error #>> '{error,details,current_plan}')
                     FROM vpk_authenticate('Bearer ' || $1, text_of($2), request_id => text_of($2))";
        let row = client.query_one(sql, &[&token, &account]).expect("a row");
        assert_eq!(row.get::<_, &str>(0), "PLAN_REQUIRED");
        assert_eq!(row.get::<_, &[u8]>(1), account);
        assert!(row.get::<_, bool>(2), "an id that is not ASCII is not echoed");
        assert_eq!(row.get::<_, &[u8]>(3), plan);

        let sql = "SELECT bytes_of(vpk_error('PLAN_REQUIRED', account => text_of($1))
                                   #>> '{error,details,current_plan}')";
        assert_eq!(client.query_one(sql, &[&account]).expect("a row").get::<_, &[u8]>(0), plan);

        let sql = "UPDATE vpk.plans SET api_access = true WHERE plan = text_of($1)";
        client.execute(sql, &[&plan]).expect("access");
        for (argument, expected) in
            [("scope", "INSUFFICIENT_SCOPE"), ("environment", "INVALID_API_KEY")]
        {
            let sql = format!(
                "SELECT status::text FROM vpk_authenticate('Bearer ' || $1, {argument} => text_of($2))"
            );
            assert_eq!(value(&mut client, &sql, &[&token, &account]), expected);
        }
        let sql = "SELECT status::text, bytes_of(key_name), bytes_of(plan), bytes_of(account)
                     FROM vpk_authenticate('Bearer ' || $1)";
        let row = client.query_one(sql, &[&token]).expect("a row");
        assert_eq!(row.get::<_, &str>(0), "VALID");
        assert_eq!([1, 2, 3].map(|at| row.get::<_, &[u8]>(at)), [account, plan, account]);
        let sql = "SELECT bytes_of(message) FROM vpk.status_codes WHERE status = 'PLAN_REQUIRED'";
        let message = client.query_one(sql, &[]).expect("a row").get::<_, Vec<u8>>(0);
        assert!(message.windows(plan.len()).any(|window| window == plan), "in the message");
    }
}
