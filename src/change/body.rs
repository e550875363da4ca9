//! An event as a batch holds it, and the event made of it again.

use std::sync::Arc;

use super::arena::{Arena, Span};
use super::relation::{Name, Names, Relation, Shape};
use super::{Change, RelIds};
use crate::base::lsn::Lsn;
use crate::pg::wire::pgoutput::{Begin, Commit, Logical, OldTuple, Origin, Tuple, Type};

/// An event whose bytes and tables are in the [`Contents`] of its batch.
pub enum Body {
    Begin(Begin),
    Commit(Commit),
    Origin {
        commit_lsn: Lsn,
        name: Span,
    },
    Relation(u32),
    Type {
        id: u32,
        namespace: Span,
        name: Span,
    },
    Insert {
        relation: u32,
        new: Row,
    },
    Update {
        relation: u32,
        old: Option<OldRow>,
        new: Row,
    },
    Delete {
        relation: u32,
        old: OldRow,
    },
    Truncate {
        options: i8,
        rel_ids: Span,
    },
    Logical {
        flags: i8,
        lsn: Lsn,
        prefix: Span,
        content: Span,
    },
}

/// The values of a row.
pub struct Row {
    pub columns: u16,
    pub span: Span,
}

/// What identified a row before it was changed.
pub enum OldRow {
    Key(Row),
    Full(Row),
}

/// What the bodies of a batch refer to.
#[derive(Default)]
pub struct Contents {
    pub arena: Arena,
    /// The tables that its rows belong to, so that a batch in flight keeps its own definitions.
    pub relations: Vec<Described>,
    pub names: Names,
}

/// A table as a batch has it.
pub struct Described {
    pub rel_id: u32,
    pub name: Name,
    pub shape: Arc<Shape>,
}

impl Contents {
    /// The event of a body.
    pub fn change<'a>(&'a self, body: &Body) -> Change<'a> {
        match body {
            Body::Begin(begin) => Change::Begin(*begin),
            Body::Commit(commit) => Change::Commit(*commit),
            Body::Origin { commit_lsn, name } => Change::Origin(Origin {
                commit_lsn: *commit_lsn,
                name: self.arena.str(*name).into(),
            }),
            Body::Relation(relation) => Change::Relation(self.described(*relation)),
            Body::Type {
                id,
                namespace,
                name,
            } => Change::Type(Type {
                id: *id,
                namespace: self.arena.str(*namespace).into(),
                name: self.arena.str(*name).into(),
            }),
            Body::Insert { relation, new } => Change::Insert {
                relation: self.described(*relation),
                new: self.tuple(new),
            },
            Body::Update { relation, old, new } => Change::Update {
                relation: self.described(*relation),
                old: old.as_ref().map(|old| self.old_tuple(old)),
                new: self.tuple(new),
            },
            Body::Delete { relation, old } => Change::Delete {
                relation: self.described(*relation),
                old: self.old_tuple(old),
            },
            Body::Truncate { options, rel_ids } => Change::Truncate {
                options: *options,
                rel_ids: RelIds(self.arena.slice(*rel_ids)),
            },
            Body::Logical {
                flags,
                lsn,
                prefix,
                content,
            } => Change::Logical(Logical {
                flags: *flags,
                lsn: *lsn,
                prefix: self.arena.slice(*prefix),
                content: self.arena.slice(*content),
            }),
        }
    }

    /// The table at a position.
    pub fn described(&self, position: u32) -> Relation<'_> {
        let described = &self.relations[position as usize];
        let (shape, name) = (&described.shape, described.name);
        Relation::new(described.rel_id, shape, name, &self.names)
    }

    fn tuple(&self, row: &Row) -> Tuple<'_> {
        Tuple::from_parts(row.columns, self.arena.slice(row.span))
    }

    fn old_tuple(&self, old: &OldRow) -> OldTuple<'_> {
        match old {
            OldRow::Key(row) => OldTuple::Key(self.tuple(row)),
            OldRow::Full(row) => OldTuple::Full(self.tuple(row)),
        }
    }
}
