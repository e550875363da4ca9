//! What is done with hostile input: a function for each kind, which panics when something does not
//! hold.
//!
//! The fuzzer feeds them; the tests feed them what it found worth keeping.

pub mod auth;
pub mod config;
pub mod fluvio;
pub mod frames;
pub mod pgoutput;
pub mod record;

/// A target.
pub type Target = fn(&[u8]);

/// Every target, by name.
pub const ALL: [(&str, Target); 6] = [
    ("frames", frames::frames),
    ("pgoutput", pgoutput::pgoutput),
    ("auth", auth::auth),
    ("config", config::config),
    ("fluvio", fluvio::fluvio),
    ("record", record::record),
];

/// Cuts the input into pieces: Int16 length and that many bytes, or as many as there are.
pub fn pieces(mut data: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (len, rest) = data.split_first_chunk()?;
        let len = usize::from(u16::from_be_bytes(*len)).min(rest.len());
        let (piece, rest) = rest.split_at(len);
        data = rest;
        Some(piece)
    })
}
