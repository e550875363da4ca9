//! The targets, and the limit that they run under.

pub mod targets;

/// So much memory is never needed for an input of a few KiB: whoever needs it took a length at its
/// word.
const MEMORY_BYTES: usize = 512 * 1024 * 1024;

#[global_allocator]
static MEMORY: cap::Cap<std::alloc::System> = cap::Cap::new(std::alloc::System, MEMORY_BYTES);

/// Lets a panic unwind, which the fuzzer would not: what nobody catches ends the run all the same.
pub fn let_panics_unwind() {
    std::panic::set_hook(Box::new(|panic| eprintln!("{panic}")));
}
