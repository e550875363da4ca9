//! The event sequence of the specification, byte for byte.

use serde_json::json;

use crate::support::pipeline::Pipeline;
use crate::support::record::kinds;

#[test]
fn the_sequence_of_the_specification() {
    let pipeline = Pipeline::new("golden");
    let _connector = pipeline.start();
    pipeline.database.execute(
        "CREATE TABLE pets (id SERIAL PRIMARY KEY, name VARCHAR(100), species VARCHAR(100), birth DATE)",
    );
    pipeline.database.execute(
        "INSERT INTO pets (name, species, birth) VALUES ('Polly', 'Parrot', '2020-01-01')",
    );
    pipeline.database.execute(
        "INSERT INTO pets (name, species, birth) VALUES ('Rex', 'Dog', '2019-05-05'), ('Tom', 'Cat', NULL)",
    );
    let records = pipeline.wait_kind("insert", 3);
    let records = if kinds(&records).last() == Some(&"insert") {
        pipeline.records()
    } else {
        records
    };
    let expected = "begin relation insert commit begin insert insert commit";
    assert_eq!(kinds(&records).join(" "), expected);

    let relation = records
        .iter()
        .find(|record| record.kind() == "relation")
        .unwrap();
    let columns = relation.message()["columns"].as_array().unwrap();
    let types: Vec<_> = columns
        .iter()
        .map(|column| column["type_id"].as_i64().unwrap())
        .collect();
    assert_eq!(types, [23, 1043, 1043, 1082]);
    assert_eq!(
        columns[0],
        json!({"flags": 1, "name": "id", "type_id": 23, "type_modifier": -1})
    );
    let insert = records
        .iter()
        .find(|record| record.kind() == "insert")
        .unwrap();
    assert_eq!(
        insert.message()["tuple"],
        json!([
            {"Int4": 1}, {"String": "Polly"}, {"String": "Parrot"},
            {"RawText": [50, 48, 50, 48, 45, 48, 49, 45, 48, 49]}
        ])
    );
}
