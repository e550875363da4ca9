//! Tables and types as the server described them in this session.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::pg::pgoutput::{self, ReplicaIdentity};

/// A table as it was when the rows that refer to it were written.
#[derive(Debug, PartialEq, Eq)]
pub struct Relation {
    /// The table's OID.
    pub rel_id: u32,
    /// Its schema.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// What its updates and deletes carry of the old row.
    pub replica_identity: ReplicaIdentity,
    /// Its published columns, in the order of the tuples.
    pub columns: Vec<Column>,
}

/// `schema.name`, for messages.
impl std::fmt::Display for Relation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.namespace, self.name)
    }
}

/// A column of a [`Relation`].
#[derive(Debug, PartialEq, Eq)]
pub struct Column {
    /// 1 when it is part of the replica identity.
    pub flags: i8,
    /// Its name.
    pub name: String,
    /// The OID of its type.
    pub type_id: u32,
    /// Its type modifier, -1 for none.
    pub type_modifier: i32,
    /// How its values are written.
    pub class: Class,
}

/// How the values of a type are written as JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// `bool`.
    Bool,
    /// `"char"`, the one-byte type.
    Char,
    /// `int2`.
    Int2,
    /// `int4`.
    Int4,
    /// `int8`.
    Int8,
    /// `oid`.
    Oid,
    /// `float4`.
    Float4,
    /// `float8`.
    Float8,
    /// The character types and `citext`.
    Text,
    /// Every other type: its text, verbatim.
    Raw,
}

impl Class {
    /// The class of a built-in type; OIDs of
    /// [`pg_type.dat`](https://github.com/postgres/postgres/blob/master/src/include/catalog/pg_type.dat).
    fn of(type_id: u32) -> Class {
        match type_id {
            16 => Class::Bool,
            18 => Class::Char,
            20 => Class::Int8,
            21 => Class::Int2,
            23 => Class::Int4,
            26 => Class::Oid,
            700 => Class::Float4,
            701 => Class::Float8,
            // name, text, unknown, bpchar, varchar
            19 | 25 | 705 | 1042 | 1043 => Class::Text,
            _ => Class::Raw,
        }
    }
}

/// What the server has described in this session: it describes a table before its first row, and
/// again after each change of its definition.
#[derive(Default)]
pub struct Catalog {
    relations: HashMap<u32, Arc<Relation>>,
    citext_ids: HashSet<u32>,
}

impl Catalog {
    /// Remembers a type; only `citext` is written differently from other types of extensions.
    pub fn describe_type(&mut self, described: &pgoutput::Type<'_>) {
        if described.name == "citext" {
            self.citext_ids.insert(described.id);
        } else {
            self.citext_ids.remove(&described.id);
        }
    }

    /// Remembers a table as it is from here on.
    pub fn describe(&mut self, described: &pgoutput::Relation<'_>) -> Arc<Relation> {
        let columns = described
            .columns()
            .map(|column| self.column(column))
            .collect();
        let relation = Arc::new(Relation {
            rel_id: described.rel_id,
            namespace: described.namespace.clone().into_owned(),
            name: described.name.clone().into_owned(),
            replica_identity: described.replica_identity,
            columns,
        });
        self.relations
            .insert(relation.rel_id, Arc::clone(&relation));
        relation
    }

    fn column(&self, column: pgoutput::Column<'_>) -> Column {
        let class = match self.citext_ids.contains(&column.type_id) {
            true => Class::Text,
            false => Class::of(column.type_id),
        };
        Column {
            flags: column.flags,
            name: column.name.into_owned(),
            type_id: column.type_id,
            type_modifier: column.type_modifier,
            class,
        }
    }

    /// The table that a row names.
    pub fn relation(&self, rel_id: u32) -> Result<&Arc<Relation>> {
        self.relations.get(&rel_id).ok_or_else(|| {
            Error::undeliverable(format!(
                "relation {rel_id} was not described before its first row"
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pg::pgoutput::Message;

    fn describe(catalog: &mut Catalog, bytes: &[u8]) -> Arc<Relation> {
        match Message::decode(bytes).unwrap() {
            Message::Relation(relation) => catalog.describe(&relation),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn citext_is_text_once_it_was_described() {
        let mut catalog = Catalog::default();
        let relation = b"R\0\0\0\x01public\0t\0d\0\x01\x01c\0\0\0\x40\x01\xFF\xFF\xFF\xFF";
        assert_eq!(
            describe(&mut catalog, relation).columns[0].class,
            Class::Raw
        );
        let citext = pgoutput::Type {
            id: 0x4001,
            namespace: "x".into(),
            name: "citext".into(),
        };
        catalog.describe_type(&citext);
        assert_eq!(
            describe(&mut catalog, relation).columns[0].class,
            Class::Text
        );
        assert_eq!(catalog.relation(1).unwrap().columns[0].class, Class::Text);
    }

    #[test]
    fn a_relation_must_be_described() {
        let error = Catalog::default().relation(7).unwrap_err();
        assert_eq!(
            error.to_string(),
            "relation 7 was not described before its first row"
        );
    }
}
