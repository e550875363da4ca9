//! Exactly once: where the topic ends, and whether the slot goes on from there.
//!
//! - `arithmetic`: resuming, with every cut of a small stream
//! - `arithmetic_history`: resuming, when what comes again is not what the topic has
//! - `e2e`: the program dies, or loses an acknowledgement, and goes on without a seam
//! - `continuity`: what was done to the slot or the publication behind the program's back
//! - `continuity_cluster`: a database that is not the one that the topic was filled from
//! - `continuity_topic`: what was done to the topic, and others that write to it
//! - `continuity_lanes`: what was done to one of several topics
//! - `history`: a restored database that has other transactions where the topic has its last
//! - `retention`: a topic that has lost its oldest records, and what goes on is among them
//! - `shared_state`: one state file for two connectors, and for a server that takes another's place
//! - `invalidated`: a slot that the server has made useless, for each reason, and the way on from there
//! - `ways_out`: slots that nobody can read, however that came about, and the way out that is named

pub mod arithmetic;
mod arithmetic_history;
pub mod continuity;
mod continuity_cluster;
mod continuity_lanes;
mod continuity_topic;
mod e2e;
pub mod history;
mod invalidated;
mod retention;
mod shared_state;
pub mod ways_out;
