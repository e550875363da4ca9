//! What every room stands on.
//!
//! - `inputs`: files and variables as other systems, and mistakes, leave them
//! - `orphans`: process 1 of a container, which waits for what others leave behind
//! - `hidden_names`: names of others with a line of their own, or a cursor's, in them: no log has any of it
//! - `no_threads`: a system that has no thread left for the program

mod hidden_names;
mod inputs;
mod no_threads;
mod orphans;
