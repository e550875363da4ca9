//! Rows in the messages of `pgoutput`
//! ([TupleData](https://www.postgresql.org/docs/current/protocol-logicalrep-message-formats.html#PROTOCOL-LOGICALREP-MESSAGE-FORMATS-TUPLEDATA)).

use super::unknown_tag;
use crate::base::error::{Context, Result};
use crate::pg::wire::cursor::Cursor;

/// The values of a row: Int16 number of columns · the values. They are checked: walking them cannot fail.
#[derive(Debug, Clone, Copy)]
pub struct Tuple<'a> {
    columns: u16,
    bytes: &'a [u8],
}

/// A value: `n` NULL · `u` unchanged TOAST · `t` Int32 length · bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value<'a> {
    /// NULL; in a key tuple also a column that is not part of the key.
    Null,
    /// A large value that did not change and was not sent.
    UnchangedToast,
    /// The value's text.
    Text(&'a [u8]),
}

/// The values that identified a row before it was changed.
#[derive(Debug, Clone, Copy)]
pub enum OldTuple<'a> {
    /// `K`: the columns of the key; the others are NULL.
    Key(Tuple<'a>),
    /// `O`: the whole row, under REPLICA IDENTITY FULL.
    Full(Tuple<'a>),
}

impl<'a> OldTuple<'a> {
    pub(super) fn decode(kind: u8, c: &mut Cursor<'a>) -> Result<Self> {
        match kind {
            b'K' => Ok(OldTuple::Key(Tuple::decode(c).at(|| "key tuple".into())?)),
            b'O' => Ok(OldTuple::Full(Tuple::decode(c).at(|| "old tuple".into())?)),
            other => Err(unknown_tag("tuple kind", other)),
        }
    }

    /// The values, whichever kind it is.
    pub fn tuple(&self) -> Tuple<'a> {
        match self {
            OldTuple::Key(tuple) | OldTuple::Full(tuple) => *tuple,
        }
    }
}

impl<'a> Tuple<'a> {
    pub(super) fn decode(c: &mut Cursor<'a>) -> Result<Self> {
        let columns = c.u16("number of columns")?;
        let bytes = c.rest();
        for i in 0..columns {
            Value::decode(c).map_err(|e| e.at(format!("column {}", i + 1)))?;
        }
        Ok(Tuple {
            columns,
            bytes: &bytes[..bytes.len() - c.rest().len()],
        })
    }

    /// A tuple from the parts of one that was decoded before.
    pub fn from_parts(columns: u16, bytes: &'a [u8]) -> Self {
        Tuple { columns, bytes }
    }

    /// The number of values.
    pub fn columns(&self) -> u16 {
        self.columns
    }

    /// The values as they were sent.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The values in the order of the relation's columns.
    pub fn values(&self) -> impl Iterator<Item = Value<'a>> + use<'a> {
        let mut c = Cursor::new(self.bytes);
        (0..self.columns).map_while(move |_| Value::decode(&mut c).ok())
    }
}

impl<'a> Value<'a> {
    #[inline]
    pub(super) fn decode(c: &mut Cursor<'a>) -> Result<Self> {
        match c.u8("value kind")? {
            b'n' => Ok(Value::Null),
            b'u' => Ok(Value::UnchangedToast),
            b't' => {
                let len = c.u32("value length")? as usize;
                Ok(Value::Text(c.bytes(len, "value")?))
            }
            other => Err(unknown_tag("value kind", other)),
        }
    }
}
