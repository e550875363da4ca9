//! The replication slot.

use postgres::Client;

use super::{Server, missing};
use crate::config::{Config, Setup};
use crate::error::{Error, Result};
use crate::pg::connection::{quote_identifier, quote_literal};
use crate::pg::server_error::from_sql;
use crate::pg::system::Slot;

pub(super) fn ensure(client: &mut Client, server: &Server, config: &Config) -> Result<()> {
    let name = &config.slot;
    if let Some(found) = find(client, name)? {
        warn_of_difference(&found, config);
        return Ok(());
    }
    let statement = create_statement(config);
    if config.setup == Setup::Require {
        return Err(missing("skip_setup is true", &statement));
    }
    if server.is_standby {
        log::info!(
            "making the replication slot {name}; on a standby this waits until the primary logs which \
             transactions are open, at its next checkpoint or when somebody runs there: SELECT \
             pg_log_standby_snapshot()"
        );
    } else {
        log::info!(
            "making the replication slot {name}; this waits for the transactions that are open now"
        );
    }
    client.batch_execute(&statement).map_err(from_sql)
}

/// The statement that makes it.
pub fn create_statement(config: &Config) -> String {
    let failover = match config.failover {
        Some(true) => ", failover => true",
        _ => "",
    };
    format!(
        "SELECT pg_catalog.pg_create_logical_replication_slot({}, 'pgoutput'{failover})",
        quote_literal(&config.slot)
    )
}

fn find(client: &mut Client, name: &str) -> Result<Option<Slot>> {
    let row = client.query_opt(
        "SELECT row_to_json(s)::text FROM pg_catalog.pg_replication_slots s WHERE slot_name = $1",
        &[&name],
    );
    let row = row.map_err(from_sql)?;
    row.map(|row| {
        serde_json::from_str(row.get(0)).map_err(|e| {
            Error::undeliverable("pg_replication_slots has not the columns expected").with_source(e)
        })
    })
    .transpose()
}

/// There is no SQL for this, only a command of replication connections.
fn warn_of_difference(found: &Slot, config: &Config) {
    let (Some(wanted), Some(is)) = (config.failover, found.failover) else {
        return;
    };
    if wanted != is {
        log::warn!(
            "the replication slot {} exists and has failover = {is}; to change it, stop this program and \
             run: psql \"dbname=... replication=database\" -c 'ALTER_REPLICATION_SLOT {} (FAILOVER \
             {wanted})'",
            config.slot,
            quote_identifier(&config.slot)
        );
    }
}
