//! Tables and types as the server described them in this session.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::pg::pgoutput::{self, ReplicaIdentity};

/// A table as it was when the rows that refer to it were written.
#[derive(Debug, PartialEq, Eq)]
pub struct Relation {
    /// The table's OID.
    pub rel_id: u32,
    /// Its schema.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Box<str>,
    /// What its updates and deletes carry of the old row.
    pub replica_identity: ReplicaIdentity,
    /// Its published columns, in the order of the tuples.
    pub columns: Arc<[Column]>,
}

/// `schema.name`, for messages.
impl std::fmt::Display for Relation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.namespace, self.name)
    }
}

/// A column of a [`Relation`].
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Column {
    /// 1 when it is part of the replica identity.
    pub flags: i8,
    /// Its name.
    pub name: Box<str>,
    /// The OID of its type.
    pub type_id: u32,
    /// Its type modifier, -1 for none.
    pub type_modifier: i32,
    /// How its values are written.
    pub class: Class,
}

/// How the values of a type are written as JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
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
/// again after each change of its definition. So every table has to be remembered; but where there
/// are thousands, most have the columns of others, which are kept once.
#[derive(Default)]
pub struct Catalog {
    tables: HashMap<u32, Table>,
    shapes: HashSet<Arc<[Column]>>,
    namespaces: HashSet<Arc<str>>,
    citext_ids: HashSet<u32>,
}

/// A table, and where it is among those of the last batch that has rows of it.
struct Table {
    relation: Arc<Relation>,
    position: u32,
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
        let columns = described.columns().map(|column| self.column(column));
        let columns = columns.collect();
        let relation = Arc::new(Relation {
            rel_id: described.rel_id,
            namespace: kept(&mut self.namespaces, described.namespace.as_ref().into()),
            name: described.name.as_ref().into(),
            replica_identity: described.replica_identity,
            columns: kept(&mut self.shapes, columns),
        });
        let table = Table {
            relation: Arc::clone(&relation),
            position: 0,
        };
        if let Some(before) = self.tables.insert(relation.rel_id, table) {
            forget(&mut self.shapes, &before.relation.columns);
            forget(&mut self.namespaces, &before.relation.namespace);
        }
        relation
    }

    fn column(&self, column: pgoutput::Column<'_>) -> Column {
        let class = match self.citext_ids.contains(&column.type_id) {
            true => Class::Text,
            false => Class::of(column.type_id),
        };
        Column {
            flags: column.flags,
            name: column.name.as_ref().into(),
            type_id: column.type_id,
            type_modifier: column.type_modifier,
            class,
        }
    }

    /// The table that a row names.
    pub fn relation(&self, rel_id: u32) -> Result<&Arc<Relation>> {
        self.placed(rel_id).map(|(relation, _)| relation)
    }

    /// The same, and where it was [placed](Catalog::place) last.
    pub fn placed(&self, rel_id: u32) -> Result<(&Arc<Relation>, u32)> {
        let table = self.tables.get(&rel_id).ok_or_else(|| {
            Error::undeliverable(format!(
                "relation {rel_id} was not described before its first row"
            ))
        })?;
        Ok((&table.relation, table.position))
    }

    /// Remembers where a table is in the batch that is being filled: to look for it there would need
    /// a map for each batch.
    pub fn place(&mut self, rel_id: u32, position: u32) {
        if let Some(table) = self.tables.get_mut(&rel_id) {
            table.position = position;
        }
    }
}

/// The one of these that is equal, or this one from now on.
fn kept<T: ?Sized + Hash + Eq>(all: &mut HashSet<Arc<T>>, one: Arc<T>) -> Arc<T> {
    if let Some(kept) = all.get(&one) {
        return Arc::clone(kept);
    }
    all.insert(Arc::clone(&one));
    one
}

/// Gives up what only a table that was described anew still has.
fn forget<T: ?Sized + Hash + Eq>(all: &mut HashSet<Arc<T>>, one: &Arc<T>) {
    if Arc::strong_count(one) <= 2 {
        all.remove(one);
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
    fn columns_are_kept_once_and_not_for_ever() {
        let mut catalog = Catalog::default();
        let table = |id: u8, name: u8, column: u8| {
            let mut bytes =
                b"R\0\0\0\x01public\0t\0d\0\x01\x01c\0\0\0\0\x17\xFF\xFF\xFF\xFF".to_vec();
            (bytes[4], bytes[12], bytes[18]) = (id, name, column);
            bytes
        };
        let one = describe(&mut catalog, &table(1, b't', b'c'));
        let two = describe(&mut catalog, &table(2, b'u', b'c'));
        assert!(Arc::ptr_eq(&one.columns, &two.columns));
        assert!(Arc::ptr_eq(&one.namespace, &two.namespace));
        drop((one, two));
        for column in b"abcdefgh" {
            describe(&mut catalog, &table(1, b't', *column));
        }
        assert_eq!((catalog.shapes.len(), catalog.namespaces.len()), (2, 1));
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
