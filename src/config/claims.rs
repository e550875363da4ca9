//! Who wants which topic: no two that did not mean to may share one.

use std::collections::BTreeMap;

use super::routes::TableRoute;
use crate::base::error::{Error, Result};

/// What helps where a table's names make no topic, or that of another.
pub const HINT: &str = "give the table a topic of its own under \"routes\"";

/// Who wants a topic.
pub struct Claim {
    pub who: String,
    pub way: TableRoute,
}

/// Fails where one topic is wanted with two numbers of partitions.
pub fn check_counts(claims: &[Claim]) -> Result<()> {
    match conflict(claims, |a, b| a.partitions != b.partitions) {
        Some((a, b)) => Err(two_counts(a, b)),
        None => Ok(()),
    }
}

/// Fails where two are in one topic by the mapping of their names alone.
pub fn check_names(claims: &[Claim]) -> Result<()> {
    match conflict(claims, |a, b| a.unmapped != b.unmapped) {
        Some((a, b)) => Err(one_topic(a, b)),
        None => Ok(()),
    }
}

/// The first two that want one topic and differ.
fn conflict(
    claims: &[Claim],
    differ: fn(&TableRoute, &TableRoute) -> bool,
) -> Option<(&Claim, &Claim)> {
    let mut first: BTreeMap<&str, &Claim> = BTreeMap::new();
    claims.iter().find_map(|claim| {
        let first = *first.entry(&claim.way.topic).or_insert(claim);
        differ(&first.way, &claim.way).then_some((first, claim))
    })
}

fn two_counts(a: &Claim, b: &Claim) -> Error {
    Error::config(format!(
        "the topic {} would have {} partitions for {} and {} for {}",
        a.way.topic, a.way.partitions, a.who, b.way.partitions, b.who
    ))
    .with_hint("write the same \"partitions\" for both, or two topics")
}

fn one_topic(a: &Claim, b: &Claim) -> Error {
    Error::config(format!(
        "{} and {} would be in one topic, {}, only because a topic's name has a to z, 0 to 9 and hyphens",
        a.who, b.who, a.way.topic
    ))
    .with_hint(HINT)
}

#[cfg(test)]
mod tests {
    use crate::config::routes::tests::{routes, tables};

    #[test]
    fn two_tables_in_one_topic_by_the_mapping_alone() {
        let by_table = "topic: \"{table}\"";
        let routed = "topic: \"{table}\"\nroutes: [{ tables: ['public.\"A\"'], topic: big-a }]";
        let to_fixed = "topic: \"{table}\"\nroutes: [{ tables: [b.t], topic: a-b }]";
        let end = "only because a topic's name has a to z, 0 to 9 and hyphens (hint: give the table a topic";
        for (text, names, has_messages, says) in [
            (
                by_table,
                ["public.a_b", "public.A b"],
                false,
                "the table public.a_b and the table public.\"A b\" would be in one topic, a-b, ",
            ),
            (
                by_table,
                ["public.Message", "a.b"],
                true,
                "the table public.\"Message\" and the messages would be in one topic, message, ",
            ),
            (
                to_fixed,
                ["b.t", "public.a_b"],
                false,
                "the table b.t and the table public.a_b would be in one topic, a-b, ",
            ),
            // As the template says:
            (by_table, ["public.a", "other.a"], false, ""),
            (by_table, ["public.message", "a.b"], true, ""),
            (by_table, ["public.Message", "a.b"], false, ""),
            ("topic: t", ["public.a_b", "public.A b"], true, ""),
            (routed, ["public.a", "public.A"], false, ""),
            // Nothing goes to the topic of a route without tables.
            (to_fixed, ["a.b", "public.a_b"], false, ""),
        ] {
            let checked = routes(text).unwrap().check(&tables(&names), has_messages);
            match says {
                "" => checked.unwrap(),
                says => {
                    let error = checked.unwrap_err().to_string();
                    let begins = error.starts_with(says) && error[says.len()..].starts_with(end);
                    assert!(begins, "{text}: {error}");
                }
            }
        }
    }

    #[test]
    fn a_topic_has_one_number_of_partitions() {
        let fixed = "topic: t\nroutes: [{ tables: [a.b, \"c.*\"], topic: t, partitions: 2 }]";
        let error = routes(fixed).unwrap_err().to_string();
        assert_eq!(
            error,
            "the topic t would have 2 partitions for the route of a.b, c.* and 1 for the tables without a \
             route (hint: write the same \"partitions\" for both, or two topics)"
        );
        let by_table =
            "topic: \"{table}\"\nroutes: [{ tables: [a.b], topic: pets, partitions: 2 }]";
        let routes = routes(by_table).unwrap();
        routes
            .check(&tables(&["a.b", "public.dogs"]), true)
            .unwrap();
        let error = routes.check(&tables(&["public.pets"]), false).unwrap_err();
        let says = "the topic pets would have 2 partitions for the route of a.b and 1 for the table public.pets";
        assert!(error.to_string().starts_with(says), "{error}");
    }
}
