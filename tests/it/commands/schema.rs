//! The JSON Schemas, held to real records, to the parser and to `config-example.yaml`, by a
//! validator that is not ours.

mod config;
mod events;
mod rows;

use jsonschema::Validator;
use serde_json::{Value, json};

use crate::support::connector::run_command;
use crate::support::outcome::{FAIL_DEADLINE, assert_end};

/// What the verb prints.
fn schema(of: &str) -> Value {
    let (code, log, lines) = run_command(&["schema", of], &[], FAIL_DEADLINE);
    assert_eq!(code, 0, "{log}");
    serde_json::from_str(&lines.join("\n")).expect("a schema is JSON")
}

fn validator(schema: &Value) -> Validator {
    jsonschema::draft202012::new(schema).unwrap_or_else(|error| panic!("{error}"))
}

#[track_caller]
fn assert_valid(validator: &Validator, value: &Value) {
    let errors: Vec<String> = validator
        .iter_errors(value)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{errors:#?}\n{value}");
}

#[test]
fn they_are_schemas_and_say_of_which_draft() {
    for of in ["events", "rows", "config"] {
        let schema = schema(of);
        let draft = "https://json-schema.org/draft/2020-12/schema";
        assert_eq!(schema["$schema"], draft);
        assert!(jsonschema::draft202012::meta::is_valid(&schema), "{of}");
    }
}

#[test]
fn there_are_three() {
    for (args, says) in [
        (
            &["schema", "topic"][..],
            "expected \"events\", \"rows\" or \"config\"",
        ),
        (&["schema"], "what"),
    ] {
        let outcome = run_command(args, &[], FAIL_DEADLINE);
        assert_end(outcome, 64, &[says]);
    }
}

/// `value` with another one at this place; nothing if the place is not there.
fn replaced(value: &Value, pointer: &str, by: Value) -> Value {
    let mut changed = value.clone();
    *changed.pointer_mut(pointer).expect("it is there") = by;
    changed
}

/// The places of everything in `value`, itself included.
fn places(value: &Value) -> Vec<String> {
    let mut places = vec![String::new()];
    let children: Vec<(String, &Value)> = match value {
        Value::Object(map) => map
            .iter()
            .map(|(key, child)| (key.clone(), child))
            .collect(),
        Value::Array(list) => (0..).map(|i: usize| i.to_string()).zip(list).collect(),
        _ => Vec::new(),
    };
    for (key, child) in children {
        let below = self::places(child).into_iter();
        places.extend(below.map(|place| format!("/{key}{place}")));
    }
    places
}

/// Every copy of `value` with one key missing or one too many, or one value of another type.
fn mutations(value: &Value) -> Vec<Value> {
    let mut mutations = Vec::new();
    for place in places(value) {
        let found = value.pointer(&place).expect("it is there");
        match found {
            Value::Object(map) => {
                for key in map.keys() {
                    let mut less = map.clone();
                    less.shift_remove(key);
                    mutations.push(replaced(value, &place, less.into()));
                }
                let mut more = map.clone();
                more.insert("no_such_key".to_owned(), json!(1));
                mutations.push(replaced(value, &place, more.into()));
                mutations.push(replaced(value, &place, json!([])));
            }
            Value::Array(_) => mutations.push(replaced(value, &place, json!({}))),
            Value::Number(_) => {
                mutations.push(replaced(value, &place, json!("1")));
                mutations.push(replaced(value, &place, json!(null)));
                if !place.contains("/Float") {
                    mutations.push(replaced(value, &place, json!(1.5)));
                    mutations.push(replaced(value, &place, json!(1e30)));
                }
            }
            Value::String(_) | Value::Bool(_) | Value::Null => {
                mutations.push(replaced(value, &place, json!(1)));
                mutations.push(replaced(value, &place, json!({"no_such_key": 1})));
            }
        }
    }
    mutations
}
