//! Tables and types as the server described them in this session.

use std::collections::{HashMap, HashSet};
use std::ops::Deref;
use std::sync::Arc;

use crate::base::error::{Error, Result};
use crate::pg::wire::pgoutput::{self, ReplicaIdentity};

/// A table as it was when the rows that refer to it were written.
#[derive(Debug, Clone, Copy)]
pub struct Relation<'a> {
    /// The table's OID.
    pub rel_id: u32,
    /// What the table shares with those that look alike.
    pub shape: &'a Arc<Shape>,
    name: Name,
    names: &'a Names,
}

/// What tables that look alike share.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Shape {
    /// The schema.
    pub namespace: Box<str>,
    /// What updates and deletes carry of the old row.
    pub replica_identity: ReplicaIdentity,
    /// The published columns, in the order of the tuples.
    pub columns: Box<[Column]>,
}

impl Shape {
    fn bytes(&self) -> usize {
        let names: usize = self.columns.iter().map(|column| column.name.len()).sum();
        size_of::<Shape>() + size_of_val(&*self.columns) + self.namespace.len() + names
    }
}

impl<'a> Relation<'a> {
    /// A table whose name is among `names`.
    pub fn new(rel_id: u32, shape: &'a Arc<Shape>, name: Name, names: &'a Names) -> Relation<'a> {
        Relation {
            rel_id,
            shape,
            name,
            names,
        }
    }

    /// The table's name.
    pub fn name(&self) -> &'a str {
        self.names.at(self.name)
    }
}

impl Deref for Relation<'_> {
    type Target = Shape;

    fn deref(&self) -> &Shape {
        self.shape
    }
}

/// `schema.name`, for messages.
impl std::fmt::Display for Relation<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.namespace, self.name())
    }
}

/// Names one behind the other, since thousands of small allocations would keep the memory between
/// them from being used again. None holds a NUL, which ends each.
#[derive(Debug, Default)]
pub struct Names(String);

/// Where a name begins.
#[derive(Debug, Clone, Copy)]
pub struct Name(u32);

impl Names {
    /// No names, with room for `bytes`.
    pub fn with_capacity(bytes: usize) -> Names {
        Names(String::with_capacity(bytes))
    }

    /// How many bytes the names take.
    pub fn bytes(&self) -> usize {
        self.0.len()
    }

    /// Adds a name.
    pub fn add(&mut self, name: &str) -> Name {
        let begin = Name(self.0.len() as u32);
        self.0.push_str(name);
        self.0.push('\0');
        begin
    }

    fn at(&self, name: Name) -> &str {
        let rest = &self.0[name.0 as usize..];
        rest.split('\0').next().unwrap_or_default()
    }
}

/// A column of a [`Relation`].
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Column {
    /// 1 when the column is part of the replica identity.
    pub flags: i8,
    /// The column's name.
    pub name: Box<str>,
    /// The OID of the column's type.
    pub type_id: u32,
    /// The modifier of the column's type, -1 for none.
    pub type_modifier: i32,
    /// How the column's values are written.
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
    /// `json` and `jsonb`.
    Json,
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
            // json, jsonb
            114 | 3802 => Class::Json,
            _ => Class::Raw,
        }
    }
}

/// What the server has described in this session: it describes a table before its first row, and
/// again after each change of its definition. So every table has to be remembered, in as little as
/// that takes.
pub struct Catalog {
    /// Where each table is among those that follow.
    indexes: HashMap<u32, u32>,
    tables: Vec<Table>,
    names: Names,
    /// The bytes of names that no table has any more.
    given_up: usize,
    /// How many tables have each. Batches in flight may keep one that none has any more.
    shapes: HashMap<Arc<Shape>, u32>,
    citext_ids: HashSet<u32>,
    /// What the shapes take.
    shape_bytes: usize,
}

/// A session keeps every table that was described, also those that are dropped since, up to here: some
/// hundred thousand of tables that all differ.
const MAX_BYTES: usize = 256 * 1024 * 1024;

/// What a table takes besides its name and its shape, and what a type does.
const TABLE_BYTES: usize = 48;

/// A table, and where it is among those of the last batch that has rows of it.
struct Table {
    shape: Arc<Shape>,
    name: Name,
    position: u32,
}

/// The position of a table that no batch has as it is now.
const NOWHERE: u32 = u32::MAX;

/// The tables that there is room for from the beginning, which is address space alone until they come.
/// What grows from little leaves holes in the heap.
const ROOM: usize = 14_000;

impl Default for Catalog {
    fn default() -> Catalog {
        Catalog {
            indexes: HashMap::with_capacity(ROOM),
            tables: Vec::with_capacity(ROOM),
            names: Names::with_capacity(ROOM * 16),
            given_up: 0,
            shapes: HashMap::new(),
            citext_ids: HashSet::new(),
            shape_bytes: 0,
        }
    }
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

    /// Roughly what the catalog takes.
    fn bytes(&self) -> usize {
        (self.tables.len() + self.citext_ids.len()) * TABLE_BYTES
            + self.names.bytes()
            + self.shape_bytes
    }

    /// Remembers a table as it is from here on. The next session begins with none.
    pub fn describe(&mut self, described: &pgoutput::Relation<'_>) -> Result<()> {
        if self.bytes() > MAX_BYTES {
            return Err(Error::unreachable(format!(
                "{} tables were described in this session, more than are kept",
                self.tables.len()
            ))
            .with_hint(
                "the next session begins with none; if that is too often, publish fewer tables",
            ));
        }
        let columns = described.columns().map(|column| self.column(column));
        let shape = self.kept(Shape {
            namespace: described.namespace.as_ref().into(),
            replica_identity: described.replica_identity,
            columns: columns.collect(),
        });
        let (rel_id, name) = (described.rel_id, described.name.as_ref());
        match self.indexes.get(&rel_id) {
            Some(&index) => self.describe_anew(index as usize, shape, name),
            None => {
                self.indexes.insert(rel_id, self.tables.len() as u32);
                self.tables.push(Table {
                    shape,
                    name: self.names.add(name),
                    position: NOWHERE,
                });
            }
        }
        Ok(())
    }

    fn describe_anew(&mut self, index: usize, shape: Arc<Shape>, name: &str) {
        let table = &mut self.tables[index];
        let before = std::mem::replace(&mut table.shape, shape);
        table.position = NOWHERE;
        let old_name = self.names.at(table.name);
        if old_name != name {
            self.given_up += old_name.len() + 1;
            table.name = self.names.add(name);
        }
        self.give_up(&before);
        if self.given_up > self.names.bytes() / 2 {
            self.gather_names();
        }
    }

    fn gather_names(&mut self) {
        let mut names = Names::with_capacity(self.names.bytes() - self.given_up);
        for table in &mut self.tables {
            table.name = names.add(self.names.at(table.name));
        }
        (self.names, self.given_up) = (names, 0);
    }

    /// The shape that is equal, or this one from now on, which one table more has.
    fn kept(&mut self, shape: Shape) -> Arc<Shape> {
        let bytes = shape.bytes();
        let entry = self.shapes.entry(Arc::new(shape));
        let kept = Arc::clone(entry.key());
        let tables = entry.or_default();
        if *tables == 0 {
            self.shape_bytes += bytes;
        }
        *tables += 1;
        kept
    }

    /// Gives up a shape that one table less has.
    fn give_up(&mut self, shape: &Arc<Shape>) {
        if let Some(tables) = self.shapes.get_mut(shape) {
            *tables -= 1;
            if *tables == 0 {
                self.shapes.remove(shape);
                self.shape_bytes -= shape.bytes();
            }
        }
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
    pub fn relation(&self, rel_id: u32) -> Result<Relation<'_>> {
        self.placed(rel_id).map(|(relation, _)| relation)
    }

    /// The table that a row names, and where it was [placed](Catalog::place) last.
    pub fn placed(&self, rel_id: u32) -> Result<(Relation<'_>, u32)> {
        let table = &self.tables[self.index(rel_id)?];
        Ok((self.view(rel_id, table), table.position))
    }

    /// Places a table at `position` in the batch that is being filled: to search for it there would
    /// need a map for each batch.
    pub fn place(&mut self, rel_id: u32, position: u32) -> Result<Relation<'_>> {
        let index = self.index(rel_id)?;
        self.tables[index].position = position;
        Ok(self.view(rel_id, &self.tables[index]))
    }

    fn index(&self, rel_id: u32) -> Result<usize> {
        let index = self.indexes.get(&rel_id).ok_or_else(|| {
            Error::undeliverable(format!(
                "relation {rel_id} was not described before its first row"
            ))
        })?;
        Ok(*index as usize)
    }

    fn view<'a>(&'a self, rel_id: u32, table: &'a Table) -> Relation<'a> {
        Relation::new(rel_id, &table.shape, table.name, &self.names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pg::wire::pgoutput::Message;

    fn describe(catalog: &mut Catalog, bytes: &[u8]) -> Arc<Shape> {
        let Ok(Message::Relation(relation)) = Message::decode(bytes) else {
            panic!("it is one");
        };
        catalog.describe(&relation).unwrap();
        let described = catalog.relation(relation.rel_id).unwrap();
        assert_eq!(described.name(), relation.name);
        Arc::clone(described.shape)
    }

    /// A table of one column.
    fn table(id: u8, name: u8, column: u8) -> Vec<u8> {
        let mut bytes = b"R\0\0\0\x01public\0t\0d\0\x01\x01c\0\0\0\0\x17\xFF\xFF\xFF\xFF".to_vec();
        (bytes[4], bytes[12], bytes[18]) = (id, name, column);
        bytes
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
    fn what_is_equal_is_kept_once_and_not_for_ever() {
        let mut catalog = Catalog::default();
        let one = describe(&mut catalog, &table(1, b't', b'c'));
        let two = describe(&mut catalog, &table(2, b'u', b'c'));
        assert!(Arc::ptr_eq(&one, &two));
        // As a batch that waits for its sink has them.
        let in_flight = b"abcdefgh".map(|column| describe(&mut catalog, &table(1, b't', column)));
        assert_eq!((catalog.shapes.len(), catalog.tables.len()), (2, 2));
        drop(in_flight);
    }

    #[test]
    fn names_that_are_given_up_are_not_kept_for_ever() {
        let mut catalog = Catalog::default();
        describe(&mut catalog, &table(1, b'x', b'c'));
        for _ in 0..100 {
            for name in b"abc" {
                describe(&mut catalog, &table(2, *name, b'c'));
                assert_eq!(catalog.relation(1).unwrap().name(), "x");
                assert!(catalog.names.bytes() <= 8, "{:?}", catalog.names);
            }
        }
        assert_eq!(catalog.relation(2).unwrap().to_string(), "public.c");
    }

    #[test]
    fn what_is_kept_is_counted_and_has_a_bound() {
        let mut catalog = Catalog::default();
        for column in b"abcabc" {
            describe(&mut catalog, &table(1, b't', *column));
        }
        let one = catalog.tables[0].shape.bytes();
        assert_eq!((catalog.shape_bytes, catalog.tables.len()), (one, 1));
        assert_eq!(catalog.bytes(), TABLE_BYTES + catalog.names.bytes() + one);

        catalog.shape_bytes = MAX_BYTES + 1;
        let bytes = table(2, b't', b'c');
        let Ok(Message::Relation(relation)) = Message::decode(&bytes) else {
            panic!("it is one");
        };
        let error = catalog.describe(&relation).unwrap_err();
        assert!(error.kind().is_transient(), "{error}");
    }

    #[test]
    fn a_relation_must_be_described() {
        let error = Catalog::default().relation(7).map(|_| ()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "relation 7 was not described before its first row"
        );
    }
}
