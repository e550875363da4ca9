//! What is the same in all records of a table.

use super::super::text::WriteJson;
use crate::base::error::{Error, Result};
use crate::change::Relation;
use crate::change::relation::Class;
use crate::pg::wire::pgoutput::ReplicaIdentity;

/// How the values are written that readers do not agree about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RowStyle {
    /// How an `int8` is written.
    pub int8: Int8,
    /// How a `json` or `jsonb` is written.
    pub json: JsonStyle,
}

/// How an `int8` is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Int8 {
    /// As a number, which not every reader takes exactly beyond 2^53.
    #[default]
    Number,
    /// As a string.
    String,
}

/// How a `json` or `jsonb` is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum JsonStyle {
    /// An object or an array in place, anything else as a string.
    #[default]
    Value,
    /// Its text as a string.
    Text,
}

/// A table as its records have it: what they all begin with, its columns, and which of them are the key.
#[derive(Debug)]
pub struct RowTable {
    /// `"schema":"public","table":"pets","key":` and, for each column, `,"name":"`.
    text: Box<[u8]>,
    /// Where the columns' part of the text begins.
    head: u32,
    columns: Box<[Ending]>,
    /// How many columns are part of the key, and behind which column there is none.
    key_columns: u16,
    key_end: u16,
    /// How much of the text `["public","pets"` is in the head: where the schema and the table end.
    schema_end: u32,
}

/// A column, and where its part of the text ends.
#[derive(Debug, Clone, Copy)]
struct Ending {
    end: u32,
    form: Form,
    is_identity: bool,
    is_key: bool,
}

/// The form of a column's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Bool,
    Int2,
    Int4,
    Int8,
    Oid,
    Float4,
    Float8,
    Json,
    Text,
}

impl Form {
    fn of(class: Class, style: RowStyle) -> Form {
        match class {
            Class::Bool => Form::Bool,
            Class::Int2 => Form::Int2,
            Class::Int4 => Form::Int4,
            Class::Int8 if style.int8 == Int8::Number => Form::Int8,
            Class::Oid => Form::Oid,
            Class::Float4 => Form::Float4,
            Class::Float8 => Form::Float8,
            Class::Json if style.json == JsonStyle::Value => Form::Json,
            Class::Int8 | Class::Json | Class::Char | Class::Text | Class::Raw => Form::Text,
        }
    }
}

/// A column of a [`RowTable`].
#[derive(Debug, Clone, Copy)]
pub struct Column<'t> {
    name: &'t [u8],
    ending: &'t Ending,
}

impl<'t> Column<'t> {
    /// `,"name":"`: the quote of a value that is a string with it.
    pub fn name(&self) -> &'t [u8] {
        self.name
    }

    pub fn form(&self) -> Form {
        self.ending.form
    }

    /// Whether the column is part of the replica identity.
    pub fn is_identity(&self) -> bool {
        self.ending.is_identity
    }

    pub fn is_key(&self) -> bool {
        self.ending.is_key
    }
}

const SCHEMA: &[u8] = b"\"schema\":";
const TABLE: &[u8] = b",\"table\":";
const KEY: &[u8] = b",\"key\":";

impl RowTable {
    /// A table as the server describes it, its key by the replica identity or else of the columns
    /// with these names.
    pub fn new(
        relation: &Relation<'_>,
        keys: Option<&[String]>,
        style: RowStyle,
    ) -> Result<RowTable> {
        check_keys(relation, keys.unwrap_or_default())?;
        let mut text = SCHEMA.to_vec();
        text.string(&relation.namespace);
        let schema_end = text.len() as u32;
        text.raw(TABLE);
        text.string(relation.name());
        text.raw(KEY);
        let head = text.len() as u32;
        let is_full = relation.replica_identity == ReplicaIdentity::Full;
        let columns: Box<[Ending]> = relation
            .columns
            .iter()
            .map(|column| {
                text.raw(b",");
                text.string(&column.name);
                text.raw(b":\"");
                let is_identity = !is_full && column.flags & 1 != 0;
                Ending {
                    end: text.len() as u32,
                    form: Form::of(column.class, style),
                    is_identity,
                    is_key: match keys {
                        Some(keys) => keys.iter().any(|key| **key == *column.name),
                        None => is_identity,
                    },
                }
            })
            .collect();
        let last = columns.iter().rposition(|column| column.is_key);
        Ok(RowTable {
            text: text.into(),
            head,
            key_columns: columns.iter().filter(|column| column.is_key).count() as u16,
            key_end: last.map_or(0, |last| last as u16 + 1),
            columns,
            schema_end,
        })
    }

    /// Roughly what the table takes in memory.
    pub fn bytes(&self) -> usize {
        size_of::<RowTable>() + self.text.len() + size_of_val(&*self.columns)
    }

    /// Whether the table's rows have a key.
    pub fn has_key(&self) -> bool {
        self.key_columns > 0
    }

    /// Appends `["public","pets"]`: what stands for the table where it is all that counts.
    pub fn append_name(&self, out: &mut Vec<u8>) {
        self.append_names(out);
        out.raw(b"]");
    }

    /// Appends `["public","pets"`.
    pub(super) fn append_names(&self, out: &mut Vec<u8>) {
        let (schema, table) = self.head().split_at(self.schema_end as usize);
        out.raw(b"[");
        out.raw(&schema[SCHEMA.len()..]);
        out.raw(b",");
        out.raw(&table[TABLE.len()..table.len() - KEY.len()]);
    }

    /// `"schema":"public","table":"pets","key":`.
    pub(super) fn head(&self) -> &[u8] {
        &self.text[..self.head as usize]
    }

    #[inline]
    pub(super) fn columns(&self) -> impl Iterator<Item = Column<'_>> {
        let mut begin = self.head as usize;
        self.columns.iter().map(move |ending| {
            let end = ending.end as usize;
            let name = &self.text[std::mem::replace(&mut begin, end)..end];
            Column { name, ending }
        })
    }

    /// The columns up to the last of the key.
    pub(super) fn columns_to_key(&self) -> impl Iterator<Item = Column<'_>> {
        self.columns().take(usize::from(self.key_end))
    }
}

/// A delete carries the columns of the replica identity and no others, so a key must be of these.
fn check_keys(relation: &Relation<'_>, keys: &[String]) -> Result<()> {
    let is_full = relation.replica_identity == ReplicaIdentity::Full;
    let has_identity = relation.columns.iter().any(|column| column.flags & 1 != 0);
    for key in keys {
        let column = relation.columns.iter().find(|column| *column.name == **key);
        let Some(column) = column else {
            return Err(Error::config(format!(
                "keys: {relation} has no column \"{key}\" that is published"
            )));
        };
        if has_identity && !is_full && column.flags & 1 == 0 {
            let hint = format!(
                "leave {relation} out of \"keys\", or name columns of its replica identity, or \
                 give it REPLICA IDENTITY FULL"
            );
            return Err(Error::config(format!(
                "keys: column \"{key}\" of {relation} is not part of its replica identity, so \
                 deletes would not tell it"
            ))
            .with_hint(hint));
        }
    }
    Ok(())
}
