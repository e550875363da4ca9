//! Tables as `pgoutput` describes them
//! ([Relation](https://www.postgresql.org/docs/current/protocol-logicalrep-message-formats.html#PROTOCOL-LOGICALREP-MESSAGE-FORMATS-RELATION)).

use std::borrow::Cow;

use super::{MAX_COLUMNS, namespace, unknown_tag};
use crate::base::error::{Context, Error, Result};
use crate::pg::wire::cursor::Cursor;

/// `R` · Int32 rel_id · String namespace (empty for `pg_catalog`) · String name · Int8 replica
/// identity · Int16 number of columns · the columns.
#[derive(Debug, Clone)]
pub struct Relation<'a> {
    /// The table's OID.
    pub rel_id: u32,
    /// The schema of the table.
    pub namespace: Cow<'a, str>,
    /// The name of the table.
    pub name: Cow<'a, str>,
    /// The part of the old row that updates and deletes carry.
    pub replica_identity: ReplicaIdentity,
    /// The number of columns that are described.
    pub columns: u16,
    column_bytes: &'a [u8],
}

/// The part of the old row that an UPDATE or DELETE carries
/// ([`pg_class.relreplident`](https://www.postgresql.org/docs/current/catalog-pg-class.html)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReplicaIdentity {
    /// `d`: the primary key.
    Default,
    /// `n`: nothing.
    Nothing,
    /// `f`: all columns.
    Full,
    /// `i`: the columns of one index.
    Index,
}

/// A column: Int8 flags (1: part of the key) · String name · Int32 type OID · Int32 type modifier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column<'a> {
    /// 1 when the column is part of the replica identity.
    pub flags: i8,
    /// The column's name.
    pub name: Cow<'a, str>,
    /// The OID of its type.
    pub type_id: u32,
    /// The type modifier, -1 for none.
    pub type_modifier: i32,
}

impl<'a> Relation<'a> {
    pub(super) fn decode(c: &mut Cursor<'a>) -> Result<Self> {
        let rel_id = c.u32("rel_id")?;
        let namespace = namespace(c)?;
        let name = c.str("name")?;
        let replica_identity = ReplicaIdentity::decode(c)?;
        let columns = c.u16("number of columns")?;
        if columns > MAX_COLUMNS {
            return Err(Error::undeliverable(format!(
                "{columns} columns, a table has at most {MAX_COLUMNS}"
            )));
        }
        let column_bytes = c.rest();
        for i in 0..columns {
            Column::decode(c).at(|| format!("column {}", i + 1))?;
        }
        let column_bytes = &column_bytes[..column_bytes.len() - c.rest().len()];
        Ok(Relation {
            rel_id,
            namespace,
            name,
            replica_identity,
            columns,
            column_bytes,
        })
    }

    /// The columns, in the order in which tuples have them.
    pub fn columns(&self) -> impl Iterator<Item = Column<'a>> + use<'a> {
        let mut c = Cursor::new(self.column_bytes);
        (0..self.columns).map_while(move |_| Column::decode(&mut c).ok())
    }
}

impl ReplicaIdentity {
    pub(super) fn decode(c: &mut Cursor<'_>) -> Result<Self> {
        match c.u8("replica identity")? {
            b'd' => Ok(ReplicaIdentity::Default),
            b'n' => Ok(ReplicaIdentity::Nothing),
            b'f' => Ok(ReplicaIdentity::Full),
            b'i' => Ok(ReplicaIdentity::Index),
            other => Err(unknown_tag("replica identity", other)),
        }
    }
}

impl<'a> Column<'a> {
    pub(super) fn decode(c: &mut Cursor<'a>) -> Result<Self> {
        Ok(Column {
            flags: c.i8("flags")?,
            name: c.str("name")?,
            type_id: c.u32("type id")?,
            type_modifier: c.i32("type modifier")?,
        })
    }
}
