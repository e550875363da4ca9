//! The columns of each table that are a row's key, where the stream does not say which they are.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::identifier::{Column, QualifiedTable};

/// The columns that are a row's key, by table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Keys(BTreeMap<QualifiedTable, Columns>);

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Columns(Vec<Column>);

impl Keys {
    /// The columns of a table's key, if the config names them.
    pub fn of_table(&self, schema: &str, table: &str) -> Option<impl Iterator<Item = &str>> {
        let Columns(columns) = self.0.get(&QualifiedTable::new(schema, table))?;
        Some(columns.iter().map(|column| column.0.as_str()))
    }

    /// Each table's columns in one order: a key has them in that of the table.
    pub fn sorted(&self) -> Keys {
        let mut sorted = self.clone();
        sorted.0.values_mut().for_each(|columns| columns.0.sort());
        sorted
    }

    /// Whether the config names no table's.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'de> Deserialize<'de> for Keys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Tables;

        impl<'de> Visitor<'de> for Tables {
            type Value = Keys;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of tables, each with the columns of its key: public.t: [id]")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Keys, A::Error> {
                let mut keys = BTreeMap::new();
                while let Some(table) = map.next_key::<QualifiedTable>()? {
                    if keys.insert(table, map.next_value()?).is_some() {
                        return Err(A::Error::custom("expected each table once"));
                    }
                }
                Ok(Keys(keys))
            }
        }

        deserializer.deserialize_map(Tables)
    }
}

impl<'de> Deserialize<'de> for Columns {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let columns = Vec::<Column>::deserialize(deserializer)?;
        let distinct: BTreeSet<&Column> = columns.iter().collect();
        if columns.is_empty() || distinct.len() < columns.len() {
            return Err(D::Error::custom(
                "expected the columns of the key, each of them once",
            ));
        }
        Ok(Columns(columns))
    }
}
