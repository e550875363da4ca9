//! Descriptions that were dropped because the topic has them, and are needed after all.

use std::collections::HashMap;

use crate::base::error::Result;
use crate::change::relation::Catalog;
use crate::change::{Batch, Envelope};
use crate::pg::wire::pgoutput::Type;

/// Descriptions that were dropped and not written since.
#[derive(Default)]
pub(super) struct Held {
    pub(super) relations: HashMap<u32, Envelope>,
    types: HashMap<u32, (Envelope, Type<'static>)>,
}

impl Held {
    /// Keeps the description of a type.
    pub(super) fn hold_type(&mut self, envelope: Envelope, described: &Type<'_>) {
        let described = described.to_static();
        self.types.insert(described.id, (envelope, described));
    }

    /// Writes the description of a table, and of the types that its columns have.
    pub(super) fn release(
        &mut self,
        rel_id: u32,
        batch: &mut Batch,
        catalog: &mut Catalog,
    ) -> Result<()> {
        let Some(envelope) = self.relations.remove(&rel_id) else {
            return Ok(());
        };
        let relation = catalog.relation(rel_id)?;
        for column in relation.columns.iter() {
            if let Some((envelope, described)) = self.types.remove(&column.type_id) {
                batch.push_type(envelope, &described);
            }
        }
        batch.push_relation(envelope, rel_id, catalog)
    }
}
