//! Generated columns, which from version 18 on are published or not.

use super::{TABLES, asked, assert_agree, make, told};
use crate::support::check::{check, healthy_server};
use crate::support::pipeline::Pipeline;

const GENERATED: &[(u32, &str)] = &[
    (10, "CREATE TABLE a_plain (a int PRIMARY KEY)"),
    (
        12,
        "CREATE TABLE b_beside (a int PRIMARY KEY, g int GENERATED ALWAYS AS (a * 2) STORED)",
    ),
    (
        12,
        "CREATE TABLE c_key (a int, g int GENERATED ALWAYS AS (a * 2) STORED PRIMARY KEY)",
    ),
    (
        12,
        "CREATE TABLE d_full (a int, g int GENERATED ALWAYS AS (a * 2) STORED); \
         ALTER TABLE d_full REPLICA IDENTITY FULL",
    ),
    (
        12,
        "CREATE TABLE e_index (a int NOT NULL UNIQUE, \
           g int GENERATED ALWAYS AS (a * 2) STORED NOT NULL UNIQUE); \
         ALTER TABLE e_index REPLICA IDENTITY USING INDEX e_index_g_key",
    ),
    (
        18,
        "CREATE TABLE f_virtual (a int PRIMARY KEY, g int GENERATED ALWAYS AS (a * 2)); \
         ALTER TABLE f_virtual REPLICA IDENTITY FULL",
    ),
    (
        18,
        "CREATE TABLE g_virtual_beside (a int PRIMARY KEY, g int GENERATED ALWAYS AS (a * 2))",
    ),
];

#[test]
fn generated_columns_in_the_identity() {
    let major = healthy_server().major();
    let pipeline = Pipeline::on(healthy_server(), "generated");
    make(&pipeline, GENERATED);
    // Before there is a publication, what helps is a key of the config.
    let planned = check(&pipeline.config(), &pipeline.database.url());
    make(&pipeline, &[(10, "CREATE PUBLICATION {p} FOR ALL TABLES")]);
    assert_eq!(told(&planned), asked(&pipeline, TABLES));
    if major < 18 {
        return assert_agree(&pipeline, &[]);
    }
    let advice = "parameters: { generated_columns: stored }";
    assert_eq!(planned.mends("publication.identity", "config"), [advice]);
    let stored = pipeline.config().parameter("generated_columns", "stored");
    let refused = [
        "public.c_key",
        "public.d_full",
        "public.e_index",
        "public.f_virtual",
    ];
    assert_agree(&pipeline, &refused);
    make(&pipeline, &[(18, "DROP PUBLICATION {p}")]);
    check(&stored, &pipeline.database.url()).assert_status("publication.identity", "ok");
}

/// From 18 on a list may have a generated column, and then nothing else has to publish it.
#[test]
fn generated_columns_that_are_published_or_not() {
    let pipeline = Pipeline::on(healthy_server(), "published");
    make(&pipeline, GENERATED);
    make(
        &pipeline,
        &[
            (10, "CREATE PUBLICATION {p} FOR TABLE a_plain"),
            (12, "ALTER PUBLICATION {p} ADD TABLE b_beside"),
            (
                18,
                "ALTER PUBLICATION {p} SET TABLE c_key (g), e_index (a), b_beside (g)",
            ),
            // Another one sends what this one does not.
            (
                18,
                "CREATE PUBLICATION stored FOR TABLE c_key, d_full, e_index \
                 WITH (publish_generated_columns = stored)",
            ),
            (18, "CREATE PUBLICATION none FOR TABLE b_beside"),
        ],
    );
    match healthy_server().major() {
        ..18 => assert_agree(&pipeline, &[]),
        _ => assert_agree(&pipeline, &["public.b_beside", "public.e_index"]),
    }
}

/// Nothing mends a table whose rows can only be told apart by what is never published.
#[test]
fn what_no_statement_mends_is_told_as_advice() {
    let pipeline = Pipeline::on(healthy_server(), "advice");
    make(
        &pipeline,
        &[(10, "CREATE TABLE a_plain (a int PRIMARY KEY)")],
    );
    make(
        &pipeline,
        &[(
            18,
            "CREATE TABLE b_virtual (a int, g int GENERATED ALWAYS AS (a * 2)); \
             ALTER TABLE b_virtual REPLICA IDENTITY FULL",
        )],
    );
    make(&pipeline, &[(10, "CREATE PUBLICATION {p} FOR ALL TABLES")]);
    let checked = check(&pipeline.config(), &pipeline.database.url());
    assert_eq!(told(&checked), asked(&pipeline, TABLES));
    if healthy_server().major() >= 18 {
        let advice = checked.mends("publication.identity", "advice").concat();
        assert!(
            advice.starts_with("public.b_virtual: no replica identity"),
            "{advice}"
        );
        make(
            &pipeline,
            &[(18, "ALTER TABLE b_virtual ADD PRIMARY KEY (a)")],
        );
        assert_agree(&pipeline, &["public.b_virtual"]);
    }
}
