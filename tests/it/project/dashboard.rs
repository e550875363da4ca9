//! The dashboard and the alerts beside the metrics of a real connector, in a real Prometheus.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use postgres_source::base::Lsn;
use postgres_source::observe::{Kept, Metrics, render_metrics};
use postgres_source::sink::LanePlace;
use serde_json::Value;

use crate::support::http::{address, get};
use crate::support::pipeline::{DEADLINE, Pipeline};
use crate::support::postgres::Postgres;
use crate::support::prometheus::{Server, promtool};
use crate::support::wait_until;

const PREFIX: &str = "postgres_source_";

/// What neither the dashboard nor an alert shows, and why.
const NOT_SHOWN: [(&str, &str); 0] = [];

/// The first major that knows how much more may be written before a slot is lost.
const KNOWS_SAFE_BYTES: u32 = 13;

#[test]
fn each_query_finds_series_and_a_healthy_connector_raises_no_alert() {
    let major = Postgres::shared().major();
    let limit = [("max_slot_wal_keep_size", "1GB")];
    let has_limit = major >= KNOWS_SAFE_BYTES;
    let server = Postgres::start(if has_limit { &limit } else { &[] });
    let pipeline = Pipeline::on(&server, "dashboard");
    let database = &pipeline.database;
    database.execute("CREATE TABLE t (id int)");
    let config = pipeline.config().set("metrics", "{ listen: 127.0.0.1:0 }");
    let connector = pipeline.start_with(&config);
    let address = address(&connector);
    let prometheus = Server::prometheus(address, &packaged("alerts.yaml"));
    let finds = |query: &str| {
        // So that rates and quantiles are of something.
        database.execute("INSERT INTO t VALUES (1)");
        let series = prometheus.query(query);
        !series.is_empty() && series.iter().all(|series| series["value"][1] != "NaN")
    };
    for (what, query) in dashboard_queries() {
        if query.contains("slot_safe_bytes") && !has_limit {
            continue;
        }
        wait_until(&format!("{what}: {query}"), DEADLINE, || finds(&query));
    }
    for (selector, label) in variables() {
        let series = prometheus.query(&selector);
        assert!(series[0]["metric"][&label].is_string(), "{label}");
    }

    let (_, page) = get(address, "/metrics");
    assert_eq!(promtool(&["check", "metrics"], &page), "");
    let names: BTreeSet<String> = page.lines().filter_map(sample_name).collect();
    for name in names_in_use() {
        let is_there = names.contains(&name) || name == "slot_safe_bytes" && !has_limit;
        assert!(is_there, "{name} is queried, and there is no such metric");
    }

    let expected = alerts().len();
    wait_until("all rules are evaluated", DEADLINE, || {
        let rules = prometheus.rules();
        rules.len() == expected && rules.iter().all(|rule| rule["health"] == "ok")
    });
    for rule in prometheus.rules() {
        assert_eq!(rule["state"], "inactive", "{rule}");
    }
}

#[test]
fn each_panel_says_what_it_shows_and_each_metric_is_on_one_or_in_an_alert() {
    let dashboard = dashboard();
    for panel in panels(&dashboard) {
        let title = panel["title"].as_str().expect("a title");
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{title}");
        let description = panel["description"].as_str().expect(title);
        assert!(description.ends_with('.'), "{title}: {description}");
        let unit = &panel["fieldConfig"]["defaults"]["unit"];
        assert!(unit.is_string(), "{title}");
    }
    let in_use = names_in_use();
    for family in families(&full_page()).keys() {
        let series = ["", "_bucket", "_sum", "_count"];
        let is_shown = series
            .iter()
            .any(|suffix| in_use.contains(&format!("{family}{suffix}")));
        let is_excused = NOT_SHOWN.iter().any(|(name, _)| name == family);
        assert!(is_shown != is_excused, "{family}: shown {is_shown}");
    }
}

#[test]
fn each_alert_fires_when_it_must_and_says_what_to_do() {
    let rules = packaged("alerts.yaml");
    promtool(&["check", "rules", rules.to_str().expect("UTF-8")], "");
    let cases = packaged("alerts-test.yaml");
    promtool(&["test", "rules", cases.to_str().expect("UTF-8")], "");
    let cases = yaml("alerts-test.yaml");
    let readme = readme();
    for alert in alerts() {
        let name = alert["alert"].as_str().expect("a name");
        assert!(alert["for"].is_string(), "{name}");
        let severity = alert["labels"]["severity"].as_str();
        assert!(matches!(severity, Some("critical" | "warning")), "{name}");
        let annotations = &alert["annotations"];
        assert!(annotations["summary"].is_string(), "{name}");
        let description = annotations["description"].as_str().expect(name);
        let (_, sections) = description.split_once("README, ").expect(name);
        let mut sections = sections.split('"').skip(1).step_by(2).peekable();
        assert!(sections.peek().is_some(), "{name}");
        for section in sections {
            let heading = format!("# {section}\n");
            assert!(readme.contains(&heading), "{name}: {section}");
        }
        // It stays silent, then it fires.
        let case = list(&cases["tests"])
            .iter()
            .find(|case| case["name"] == name);
        let case = case.unwrap_or_else(|| panic!("{name} has no test"));
        let looks: Vec<bool> = list(&case["promql_expr_test"])
            .iter()
            .map(|look| {
                assert!(look["expr"].as_str().expect(name).contains(name));
                !list(&look["exp_samples"]).is_empty()
            })
            .collect();
        assert_eq!(looks, [false, true], "{name}");
    }
}

#[test]
fn the_readme_has_every_metric_with_its_labels() {
    let readme = readme();
    let (_, section) = readme.split_once("\n### Metrics\n").expect("a section");
    let (section, _) = section.split_once("\n### ").expect("another one");
    let (_, table) = section.split_once("| metric | |\n").expect("a table");
    let rows = table
        .lines()
        .skip(1)
        .take_while(|line| line.starts_with('|'));
    let cells = rows.filter_map(|row| row.split('|').nth(1));
    let said: BTreeSet<String> = cells
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .map(str::to_owned)
        .collect();
    let shown: BTreeSet<String> = families(&full_page())
        .into_iter()
        .map(|(family, label)| match label {
            Some(label) => format!("{family}{{{label}}}"),
            None => family,
        })
        .collect();
    assert_eq!(said, shown);
    assert_eq!(promtool(&["check", "metrics"], &full_page()), "");
}

/// A page with everything that can be known.
fn full_page() -> String {
    let metrics = Metrics::default();
    metrics.session_begins(Lsn(1), Lsn(1));
    let place = LanePlace {
        topic: "t".into(),
        partition: 0,
    };
    metrics.lanes.open(&[place], &vec![1].into());
    metrics.set_kept(Kept {
        retained_bytes: Some(1),
        safe_bytes: Some(1),
        is_lost: Some(false),
    });
    render_metrics(&metrics, "c")
}

/// The metrics of a page, with the labels that each sample has besides the connector.
fn families(page: &str) -> BTreeMap<String, Option<String>> {
    let mut families = BTreeMap::new();
    let mut family = String::new();
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, _) = rest.split_once(' ').expect("a type");
            family = name.strip_prefix(PREFIX).expect("the prefix").to_owned();
        } else if !line.starts_with('#') {
            let (labels, _) = line.split_once('}').expect("labels");
            let labels = labels.split("\",").skip(1);
            let names = labels.filter_map(|label| Some(label.split_once('=')?.0));
            let names: Vec<&str> = names.filter(|name| *name != "le").collect();
            let label = (!names.is_empty()).then(|| names.join(","));
            families.insert(family.clone(), label);
        }
    }
    families
}

fn sample_name(line: &str) -> Option<String> {
    let (name, _) = line.split_once('{')?;
    name.strip_prefix(PREFIX).map(str::to_owned)
}

/// What the dashboard and the alerts ask for.
fn names_in_use() -> BTreeSet<String> {
    let dashboard = dashboard_queries().into_iter().map(|(_, query)| query);
    let alerts = alerts().into_iter().map(|alert| {
        let query = alert["expr"].as_str().expect("an expression");
        query.to_owned()
    });
    let variables = variables().into_iter().map(|(selector, _)| selector);
    dashboard
        .chain(alerts)
        .chain(variables)
        .flat_map(|query| names_of(&query))
        .collect()
}

fn names_of(query: &str) -> Vec<String> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let rest = query.split(PREFIX).skip(1);
    rest.map(|rest| rest.chars().take_while(|c| is_name(*c)).collect())
        .collect()
}

/// The queries of all panels, with every variable at "all".
fn dashboard_queries() -> Vec<(String, String)> {
    let dashboard = dashboard();
    let mut queries = Vec::new();
    for panel in panels(&dashboard) {
        let title = panel["title"].as_str().expect("a title");
        let targets = list(&panel["targets"]);
        assert!(!targets.is_empty(), "{title}");
        for target in targets {
            let query = target["expr"].as_str().expect("an expression");
            queries.push((title.to_owned(), substituted(query)));
        }
    }
    queries
}

/// What the variables are taken from: a selector, and the label of it.
fn variables() -> Vec<(String, String)> {
    let dashboard = dashboard();
    let variables = list(&dashboard["templating"]["list"]).iter();
    let variables = variables.filter(|variable| variable["type"] == "query");
    let variables: Vec<(String, String)> = variables
        .map(|variable| {
            let query = variable["definition"].as_str().expect("a query");
            let query = query.strip_prefix("label_values(").expect("labels");
            let query = query.strip_suffix(')').expect("their end");
            let (selector, label) = query.rsplit_once(", ").expect("a label");
            (substituted(selector), label.to_owned())
        })
        .collect();
    assert_eq!(variables.len(), 2);
    variables
}

fn substituted(query: &str) -> String {
    let query = query
        .replace("$__rate_interval", "15s")
        .replace("$instance", ".*")
        .replace("$connector", ".*");
    assert!(!query.contains('$'), "{query}");
    query
}

fn panels(dashboard: &Value) -> impl Iterator<Item = &Value> {
    let panels = list(&dashboard["panels"]).iter();
    panels.filter(|panel| panel["type"] != "row")
}

fn dashboard() -> Value {
    let text = std::fs::read_to_string(packaged("grafana-dashboard.json"));
    serde_json::from_str(&text.expect("it is there")).expect("JSON")
}

fn alerts() -> Vec<Value> {
    list(&yaml("alerts.yaml")["groups"][0]["rules"]).to_vec()
}

fn yaml(name: &str) -> Value {
    let text = std::fs::read_to_string(packaged(name)).expect("it is there");
    yaml_serde::from_str(&text).expect("YAML")
}

#[track_caller]
fn list(value: &Value) -> &[Value] {
    value.as_array().expect("a list")
}

fn packaged(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/packaging")).join(name)
}

fn readme() -> String {
    let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
    std::fs::read_to_string(readme).expect("it is there")
}
