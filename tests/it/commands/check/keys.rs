//! The keys of rows: columns that are not there or not told, and tables without any.

use crate::support::check::{check, healthy_server};
use crate::support::spread::Spread;

#[test]
fn tables_without_a_key_are_named_where_keys_spread_them() {
    let spread = Spread::on(healthy_server(), "check_keys");
    let (database, url) = (&spread.pipeline.database, spread.pipeline.database.url());
    database.execute(
        "CREATE TABLE whole (id int8 PRIMARY KEY); ALTER TABLE whole REPLICA IDENTITY FULL;
         CREATE TABLE told (id int8 NOT NULL, name text);
         CREATE UNIQUE INDEX told_id ON told (id); ALTER TABLE told REPLICA IDENTITY USING INDEX told_id",
    );
    let checked = check(&spread.config(), &url);
    checked.assert_problems(&[("publication.keys", "warning")], 0);
    let says = "all go to one partition of each: public.whole";
    checked.assert_says("publication.keys", says);
    assert!(checked.found("publication.keys").ends_with("public.whole"));
    let advice = checked.mends("publication.keys", "advice").concat();
    assert!(
        advice.contains("keys: { SCHEMA.TABLE: [COLUMNS] }"),
        "{advice}"
    );
    let named = spread.config().set("keys", "{ public.whole: [id] }");
    check(&named, &url).assert_problems(&[], 0);
    // Where rows are not spread by key, none is missed.
    let by_table = spread.config().set("partition", "table");
    check(&by_table, &url).assert_problems(&[], 0);
}

#[test]
fn columns_that_are_not_there_or_that_deletes_do_not_tell() {
    let spread = Spread::on(healthy_server(), "check_columns");
    let (database, url) = (&spread.pipeline.database, spread.pipeline.database.url());
    let with = |keys: &str| spread.config().set("keys", keys);
    let checked = check(&with("{ public.pets: [none] }"), &url);
    checked.assert_problems(&[("publication.keys", "failure")], 78);
    checked.assert_says(
        "publication.keys",
        "keys: public.pets has no column \"none\"",
    );
    check(&with("{ public.pets: [id] }"), &url).assert_problems(&[], 0);

    let config = with("{ public.pets: [name] }");
    let checked = check(&config, &url);
    checked.assert_problems(&[("publication.keys", "failure")], 78);
    let says = "column \"name\" of public.pets is not part of its replica identity";
    checked.assert_says("publication.keys", says);
    checked.run_sql("publication.keys", database);
    check(&config, &url).assert_problems(&[], 0);
}

/// An index may have columns that are no part of its key.
#[test]
fn columns_that_an_index_only_includes() {
    let spread = Spread::on(healthy_server(), "check_include");
    let (database, url) = (&spread.pipeline.database, spread.pipeline.database.url());
    if database.major() < 11 {
        return;
    }
    database.execute("CREATE TABLE wide (id int8, name text, PRIMARY KEY (id) INCLUDE (name))");
    let with = |keys: &str| spread.config().set("keys", keys);
    check(&with("{ public.wide: [id] }"), &url).assert_problems(&[], 0);
    let checked = check(&with("{ public.wide: [name] }"), &url);
    checked.assert_problems(&[("publication.keys", "failure")], 78);
}
