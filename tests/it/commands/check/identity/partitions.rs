//! Partitions, whose identity is their own, and which may come as rows of their root.

use super::{asked, assert_agree, make};
use crate::support::check::healthy_server;
use crate::support::pipeline::Pipeline;

const PARTITIONS: &[(u32, &str)] = &[
    (
        10,
        "CREATE TABLE bare (a int) PARTITION BY RANGE (a); \
         CREATE TABLE bare_1 PARTITION OF bare FOR VALUES FROM (0) TO (10); \
         CREATE TABLE bare_2 PARTITION OF bare FOR VALUES FROM (10) TO (20); \
         ALTER TABLE bare_2 REPLICA IDENTITY FULL; \
         CREATE UNLOGGED TABLE bare_3 PARTITION OF bare FOR VALUES FROM (20) TO (30); \
         CREATE TABLE bare_4 PARTITION OF bare FOR VALUES FROM (30) TO (40) PARTITION BY RANGE (a); \
         CREATE TABLE bare_4_1 PARTITION OF bare_4 FOR VALUES FROM (30) TO (40)",
    ),
    (
        11,
        "CREATE TABLE keyed (a int PRIMARY KEY) PARTITION BY RANGE (a); \
         CREATE TABLE keyed_1 PARTITION OF keyed FOR VALUES FROM (0) TO (10); \
         CREATE TABLE keyed_2 PARTITION OF keyed FOR VALUES FROM (10) TO (20); \
         ALTER TABLE keyed_2 REPLICA IDENTITY NOTHING; \
         ALTER TABLE keyed REPLICA IDENTITY FULL",
    ),
    // The root says nothing of its partitions.
    (
        11,
        "CREATE TABLE root_nothing (a int PRIMARY KEY) PARTITION BY RANGE (a); \
         CREATE TABLE root_nothing_1 PARTITION OF root_nothing FOR VALUES FROM (0) TO (10); \
         ALTER TABLE root_nothing REPLICA IDENTITY NOTHING",
    ),
];

#[test]
fn partitions_have_an_identity_of_their_own() {
    let major = healthy_server().major();
    let publications = [
        (10, "CREATE PUBLICATION {p} FOR ALL TABLES"),
        (
            13,
            "CREATE PUBLICATION {p} FOR TABLE bare, keyed, root_nothing",
        ),
        (
            13,
            "CREATE PUBLICATION {p} FOR TABLE bare, keyed, root_nothing \
             WITH (publish_via_partition_root = true)",
        ),
        (
            13,
            "CREATE PUBLICATION {p} FOR ALL TABLES WITH (publish_via_partition_root = true)",
        ),
        (
            13,
            "CREATE PUBLICATION {p} FOR TABLE bare_4, keyed_2, bare_1",
        ),
        // Of a root that is in another schema than its partitions.
        (
            15,
            "CREATE SCHEMA s; ALTER TABLE bare SET SCHEMA s; ALTER TABLE keyed SET SCHEMA s; \
             CREATE PUBLICATION {p} FOR TABLES IN SCHEMA s",
        ),
    ];
    for (since, publication) in publications {
        if major < since {
            continue;
        }
        let pipeline = Pipeline::on(healthy_server(), "partitions");
        make(&pipeline, PARTITIONS);
        make(&pipeline, &[(since, publication)]);
        // Asked through their root, they say the same.
        let roots = "SELECT relnamespace::regnamespace || '.' || relname FROM pg_class \
                     WHERE relname IN ('bare', 'keyed', 'root_nothing')";
        let through_roots: Vec<String> = asked(&pipeline, roots).into_keys().collect();
        let through = |name: &str| through_roots.iter().any(|root| root.ends_with(name));
        assert!(
            through(".bare") && !through(".root_nothing"),
            "{through_roots:?}"
        );
        let refused = ["public.bare_1", "public.bare_4_1", "public.keyed_2"];
        match major {
            10 => assert_agree(&pipeline, &refused[..2]),
            _ => assert_agree(&pipeline, &refused),
        }
    }
}

/// What comes as rows of the root goes by the root's filter and list, and else by the partition's own.
#[test]
fn they_go_by_the_filter_of_what_they_come_as() {
    let leaf = (
        10,
        "CREATE TABLE root (a int NOT NULL, b int) PARTITION BY RANGE (a); \
         CREATE TABLE leaf PARTITION OF root FOR VALUES FROM (0) TO (10); \
         ALTER TABLE leaf ADD PRIMARY KEY (a)",
    );
    let as_root = "WITH (publish_via_partition_root = true)";
    let cases = [
        ("root, leaf WHERE (b > 0)".to_owned(), true),
        (format!("root, leaf WHERE (b > 0) {as_root}"), false),
        (format!("root, leaf (b) {as_root}"), false),
        (format!("root WHERE (b > 0), leaf {as_root}"), true),
        (format!("root (b), leaf {as_root}"), true),
        (format!("leaf WHERE (b > 0) {as_root}"), true),
        (format!("root WHERE (a > 0) {as_root}"), false),
    ];
    for (tables, is_refused) in cases {
        let pipeline = Pipeline::on(healthy_server(), "come_as");
        make(&pipeline, &[leaf]);
        let publish = format!("CREATE PUBLICATION {{p}} FOR TABLE {tables}");
        match healthy_server().major() {
            // Nothing but the identity counts there.
            ..15 => make(&pipeline, &[(10, "CREATE PUBLICATION {p} FOR TABLE leaf")]),
            _ => make(&pipeline, &[(15, &publish)]),
        }
        let refused = is_refused && healthy_server().major() >= 15;
        assert_agree(&pipeline, if refused { &["public.leaf"] } else { &[] });
    }
}
