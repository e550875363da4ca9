//! The types of events. What differs from type to type is matched on them, or counted in an array as
//! long as [`EventType::ALL`]: one that is added here is asked for everywhere.

use serde::Deserialize;

macro_rules! event_types {
    ($($event_type:ident = $name:literal,)*) => {
        /// What an event is, by the tag of its record.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
        #[allow(missing_docs)] // see `Change`
        pub enum EventType {
            $(#[serde(rename = $name)] $event_type,)*
        }

        impl EventType {
            /// Every type, in the order of the enum: `ALL[t as usize]` is `t`.
            pub const ALL: [EventType; [$($name),*].len()] = [$(EventType::$event_type),*];

            /// The name that records, metrics and the schema have for it.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(EventType::$event_type => $name,)*
                }
            }
        }
    };
}

event_types! {
    Begin = "begin",
    Commit = "commit",
    Origin = "origin",
    Relation = "relation",
    Type = "type",
    Insert = "insert",
    Update = "update",
    Delete = "delete",
    Truncate = "truncate",
    Message = "message",
}
