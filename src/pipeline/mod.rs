//! The way of a change from the slot to the topic: both sides opened, the two threads, and what makes
//! it exactly once.

pub(crate) mod lane_map;
pub(crate) mod position;
pub(crate) mod producer;
pub(crate) mod progress;
pub(crate) mod reader;
pub(crate) mod resume;
pub(crate) mod rows;
pub(crate) mod run;
pub(crate) mod session;
pub(crate) mod setup;
pub(crate) mod summary;

pub use self::position::Position;
pub use self::producer::Producer;
pub use self::progress::{Progress, Stored};
pub use self::reader::{Reader, ReaderParts};
pub use self::resume::state::Memory;
pub use self::resume::{Mark, NoTail, Resume, Tail, Verdict, WalkBack};
pub use self::summary::Summary;
