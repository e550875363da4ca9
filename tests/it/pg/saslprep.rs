//! Passwords that SASLprep changes, or has nothing to say of: what the server makes of them at
//! `ALTER ROLE ... PASSWORD` is what a login proves.

use crate::support::postgres::{Postgres, unique};
use postgres_source::pg::ConnectParams;
use postgres_source::pg::Connection;

const PASSWORDS: [&str; 17] = [
    "plain",
    "pass\u{E9}",
    // Mapped: spaces, and what is mapped to nothing.
    "a\u{A0}b",
    "a\u{AD}b",
    "a\u{200B}b",
    // Normalized.
    "\u{AA}\u{2168}\u{FB01}",
    "e\u{301}",
    // Prohibited, unassigned in Unicode 3.2, or of two directions: taken as they are.
    "a\u{7}b",
    "a\u{AA}\u{E000}",
    "\u{1F600}\u{AA}",
    "\u{AA}\u{378}",
    "\u{5D0}\u{AA}1",
    "\u{5D0}1\u{5D0}",
    // What counts is what was typed, not what becomes of it.
    "a\u{2135}\u{AA}",
    "\u{AA}\u{340}",
    // And longer than a block of the hash.
    "\u{AA}\u{340}0123456789012345678901234567890123456789012345678901234567890123456789",
    // Nothing would be left.
    "\u{AD}",
];

#[test]
fn the_server_and_we_make_the_same_of_a_password() {
    let database = Postgres::shared().database("saslprep");
    let role = unique("prepared");
    database.execute(&format!("CREATE ROLE {role} LOGIN"));
    let (_, place) = database
        .url()
        .rsplit_once('@')
        .map(|(user, place)| (user.to_owned(), place.to_owned()))
        .expect("a URL with a user");
    let mut refused = Vec::new();
    for password in PASSWORDS {
        database.execute(&format!("ALTER ROLE {role} PASSWORD '{password}'"));
        let encoded: String = password
            .bytes()
            .map(|byte| format!("%{byte:02X}"))
            .collect();
        let url = format!("postgres://{role}:{encoded}@{place}");
        let target = ConnectParams::parse(&url, "saslprep").expect("a URL");
        if let Err(error) = Connection::connect_for_sql(&target) {
            refused.push((password.escape_unicode().to_string(), error.to_string()));
        }
    }
    assert!(refused.is_empty(), "{refused:#?}");
    database.execute(&format!("DROP ROLE {role}"));
}
