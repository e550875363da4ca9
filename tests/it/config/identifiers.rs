//! Names of tables in `keys` mean what they mean to the server.

use postgres_source::config::Config;

use crate::config::{Home, URL, with};
use crate::support::postgres::{Database, Postgres};

/// Texts, those among them that are no name of a table.
const TEXTS: [&str; 30] = [
    "public.t",
    "PUBLIC.Order_Lines",
    "public.\"Odd Name\"",
    "\"a\"\"b\".c",
    "\"a.b\".\"c.d\"",
    "\"*\".\"*\"",
    "_a.b1$",
    "a$b.c",
    "Größe.ÄB",
    "Ω.İ",
    "\"1a\".b",
    "select.from",
    "",
    ".",
    "t",
    "a.",
    ".b",
    "a..b",
    "1a.b",
    "a.1b",
    "$a.b",
    "a-b.c",
    "a b.c",
    "*.b",
    "a.b*",
    "\"\".b",
    "\"a.b",
    "a.\"b",
    "\"a\"b.c",
    "a.b;",
];

/// The table that `config` prints for this text; `None` when it is no table.
fn printed(text: &str) -> Option<String> {
    let home = Home::new();
    let table = serde_json::to_string(text).expect("a text");
    let keys = format!(
        "format: rows\nkeys: {{ {table}: [id] }}\nsecrets: {{ FLUVIO_PG_DATABASE_URL: {URL} }}"
    );
    let path = home.write("config.yaml", &with(&keys), 0o600);
    let effective = Config::load(&path).and_then(|config| config.effective());
    let effective: serde_json::Value = yaml_serde::from_str(&effective.ok()?).expect("it is YAML");
    let keys = effective["keys"].as_object().expect("a map");
    keys.keys().next().cloned()
}

/// The names that the server reads; `None` when it reads none, or another number than two.
fn read_by_server(database: &Database, text: &str) -> Option<String> {
    let literal = text.replace('\'', "\'\'");
    let sql = format!("SELECT to_json(parse_ident('{literal}'))::text");
    let mut client = database.client();
    let names: String = client.query_one(&sql, &[]).ok()?.get(0);
    let count = serde_json::from_str::<Vec<String>>(&names)
        .expect("JSON")
        .len();
    (count == 2).then_some(names)
}

#[test]
fn tables_are_read_as_the_server_reads_them() {
    let database = Postgres::shared().database("identifiers");
    let mut read = 0;
    for text in TEXTS {
        let expected = read_by_server(&database, text);
        let printed = printed(text);
        let meant = printed
            .as_deref()
            .map(|text| read_by_server(&database, text));
        assert_eq!(meant, expected.clone().map(Some), "{text}: {printed:?}");
        read += usize::from(expected.is_some());
    }
    assert_eq!(read, 12);
}
