//! What is asked of the server's catalog.

pub(crate) mod blocked;
pub(crate) mod server_facts;
pub(crate) mod slot_state;
pub(crate) mod system;
pub(crate) mod wal_files;
