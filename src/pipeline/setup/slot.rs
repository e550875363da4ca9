//! The replication slot.

use super::missing;
use crate::base::error::Result;
use crate::base::shell;
use crate::config::{Config, Setup};
use crate::pg::catalog::server_facts::ServerFacts;
use crate::pg::catalog::system::Slot;
use crate::pg::connection::{Connection, quote_identifier, quote_literal};

pub(super) fn ensure(
    connection: &mut Connection,
    server: &ServerFacts,
    config: &Config,
) -> Result<()> {
    let name = &config.slot;
    if let Some(found) = connection.slot(name)? {
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
    connection.wait_for(&statement)
}

/// The statement that makes the slot, if it does not exist.
pub(super) fn missing_statement(
    connection: &mut Connection,
    config: &Config,
) -> Result<Option<String>> {
    let found = connection.slot(&config.slot)?;
    Ok(found.is_none().then(|| create_statement(config)))
}

/// The statement that makes the slot.
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

/// The command for a shell that sets `failover` on a slot that nobody reads: there is no SQL for it,
/// only a command of replication connections.
pub fn alter_command(config: &Config, database: &str) -> String {
    // Twice, for libpq and for the shell.
    let database = database.replace('\\', r"\\").replace('\'', r"\'");
    let command = format!(
        "ALTER_REPLICATION_SLOT {} (FAILOVER {})",
        quote_identifier(&config.slot),
        config.failover.unwrap_or_default()
    );
    format!(
        "psql {} -c {}",
        shell::quote(&format!("dbname='{database}' replication=database")),
        shell::quote(&command)
    )
}

fn warn_of_difference(found: &Slot, config: &Config) {
    let (Some(wanted), Some(is)) = (config.failover, found.failover) else {
        return;
    };
    if wanted != is {
        log::warn!(
            "the replication slot {} exists and has failover = {is}; to change it, stop this program and \
             run: {}",
            config.slot,
            alter_command(config, "...")
        );
    }
}
