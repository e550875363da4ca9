//! Row filters and column lists, from version 15 on.

use super::{assert_agree, make};
use crate::support::check::{check, healthy_server};
use crate::support::pipeline::Pipeline;

const FILTERS: &[(u32, &str)] = &[
    (15, "CREATE TABLE a_outside (a int PRIMARY KEY, b int)"),
    (15, "CREATE TABLE b_key (a int PRIMARY KEY, b int)"),
    (15, "CREATE TABLE c_constant (a int PRIMARY KEY, b int)"),
    (
        15,
        "CREATE TABLE d_full (a int, b int); ALTER TABLE d_full REPLICA IDENTITY FULL",
    ),
    (
        15,
        "CREATE TABLE e_included (a int, b int, PRIMARY KEY (a) INCLUDE (b))",
    ),
    (
        15,
        "CREATE TABLE f_two (a int PRIMARY KEY, b int NOT NULL, c text); \
         CREATE UNIQUE INDEX f_both ON f_two (b, a)",
    ),
    (15, "CREATE TABLE g_none (a int, b int)"),
    (
        15,
        "CREATE TABLE h_odd (\"A\"\"b (\" text NOT NULL UNIQUE, a int PRIMARY KEY)",
    ),
    (
        15,
        "CREATE TABLE root (b int, a int, PRIMARY KEY (a)) PARTITION BY RANGE (a); \
         CREATE TABLE i_leaf (c int, a int NOT NULL, b int); ALTER TABLE i_leaf DROP c; \
         ALTER TABLE root ATTACH PARTITION i_leaf FOR VALUES FROM (0) TO (10)",
    ),
    (
        15,
        "CREATE PUBLICATION {p} FOR TABLE a_outside WHERE (b > 0), b_key WHERE (a > 0), \
         c_constant WHERE (true), d_full WHERE (b > 0 AND a > 0), e_included WHERE (b > 0), \
         f_two WHERE (b > a AND a > 0), g_none WHERE (a = 1), \
         h_odd WHERE (\"A\"\"b (\" = ':varattno 2'), root WHERE (b = 1) \
         WITH (publish_via_partition_root = true)",
    ),
];

#[test]
fn row_filters_of_columns_outside_the_identity() {
    let pipeline = Pipeline::on(healthy_server(), "filters");
    if healthy_server().major() < 15 {
        // There a publication has no filters; every table has an identity or none.
        make(&pipeline, &[(10, "CREATE TABLE x (a int PRIMARY KEY)")]);
        make(&pipeline, &[(10, "CREATE PUBLICATION {p} FOR ALL TABLES")]);
        return assert_agree(&pipeline, &[]);
    }
    make(&pipeline, FILTERS);
    let says = format!(
        "public.a_outside (a row filter of columns outside its identity, publication {}), ",
        pipeline.publication
    );
    let checked = check(&pipeline.config(), &pipeline.database.url());
    checked.assert_says("publication.identity", &says);
    let statement = "ALTER TABLE public.f_two REPLICA IDENTITY USING INDEX f_both;";
    let statements = checked.mends("publication.identity", "sql");
    assert!(
        statements.iter().any(|is| is == statement),
        "{statements:?}"
    );
    let refused = [
        "public.a_outside",
        "public.e_included",
        "public.f_two",
        "public.g_none",
        "public.h_odd",
        "public.i_leaf",
    ];
    assert_agree(&pipeline, &refused);
}

const LISTS: &[(u32, &str)] = &[
    (
        15,
        "CREATE TABLE a_without (a int PRIMARY KEY, \"B b\" int)",
    ),
    (15, "CREATE TABLE b_with (a int PRIMARY KEY, b int)"),
    (
        15,
        "CREATE TABLE c_full (a int, b int); ALTER TABLE c_full REPLICA IDENTITY FULL",
    ),
    (
        15,
        "CREATE TABLE d_full_of_all (a int PRIMARY KEY, b int); \
         ALTER TABLE d_full_of_all REPLICA IDENTITY FULL",
    ),
    (
        15,
        "CREATE TABLE e_other (a int PRIMARY KEY, b int NOT NULL UNIQUE)",
    ),
    (
        15,
        "CREATE TABLE f_filtered (a int PRIMARY KEY, b int, c int)",
    ),
    (
        15,
        "CREATE TABLE root (a int, b int, PRIMARY KEY (a)) PARTITION BY RANGE (a); \
         CREATE TABLE g_leaf (c int, b int, a int NOT NULL); ALTER TABLE g_leaf DROP c; \
         ALTER TABLE root ATTACH PARTITION g_leaf FOR VALUES FROM (0) TO (10)",
    ),
    (
        15,
        "CREATE TABLE h_both (a int NOT NULL, b int NOT NULL, c int); \
         CREATE UNIQUE INDEX h_index ON h_both (a, b); \
         ALTER TABLE h_both REPLICA IDENTITY USING INDEX h_index",
    ),
    (
        15,
        "CREATE PUBLICATION {p} FOR TABLE a_without (\"B b\"), b_with (a), c_full (a), \
         d_full_of_all (a, b), e_other (b), f_filtered (b, c) WHERE (a > 0), root (b), h_both (a, c) \
         WITH (publish_via_partition_root = true)",
    ),
];

#[test]
fn column_lists_that_do_not_hold_the_identity() {
    let pipeline = Pipeline::on(healthy_server(), "lists");
    if healthy_server().major() < 15 {
        // There a publication has no lists; only a key that is too wide for one.
        make(
            &pipeline,
            &[(10, "CREATE TABLE x (a int, b int, PRIMARY KEY (a, b))")],
        );
        make(&pipeline, &[(10, "CREATE PUBLICATION {p} FOR TABLE x")]);
        return assert_agree(&pipeline, &[]);
    }
    make(&pipeline, LISTS);
    let publication = &pipeline.publication;
    let checked = check(&pipeline.config(), &pipeline.database.url());
    let again = |table: &str, rest: &str| {
        format!(
            "BEGIN; ALTER PUBLICATION \"{publication}\" DROP TABLE public.{table}; \
             ALTER PUBLICATION \"{publication}\" ADD TABLE public.{table}{rest}; COMMIT;"
        )
    };
    assert_eq!(
        checked.mends("publication.identity", "sql"),
        [
            again("a_without", " (\"B b\", \"a\")"),
            again("c_full", ""),
            "ALTER TABLE public.d_full_of_all REPLICA IDENTITY USING INDEX d_full_of_all_pkey;"
                .into(),
            "ALTER TABLE public.e_other REPLICA IDENTITY USING INDEX e_other_b_key;".into(),
            again("f_filtered", " (\"b\", \"c\", \"a\") WHERE ((a > 0))"),
            again("root", " (\"b\", \"a\")"),
            again("h_both", " (\"a\", \"c\", \"b\")"),
        ]
    );
    let refused = [
        "public.a_without",
        "public.c_full",
        "public.d_full_of_all",
        "public.e_other",
        "public.f_filtered",
        "public.g_leaf",
        "public.h_both",
    ];
    assert_agree(&pipeline, &refused);
}
