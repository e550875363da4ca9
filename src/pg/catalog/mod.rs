//! What is asked of the server's catalog.

pub mod blocked;
pub mod slot_state;
pub mod system;
pub mod wal_files;
