//! The catalog: what exists and where. Group 0 keeps it.

use crate::command::QueueSettings;
use crate::ids::{GroupId, QueueUid};

/// Where a queue is in its life. A name is free only when its row is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum QueueState {
    /// Not set.
    Unspecified = 0,
    /// In the catalog; its shard has not confirmed it.
    Creating = 1,
    /// Usable.
    Live = 2,
    /// Its shard has not confirmed that it is dropped.
    Deleting = 3,
}

/// A queue's row in the catalog. Stored.
#[derive(Clone, PartialEq, prost::Message)]
pub struct QueueEntry {
    /// Identity of this life of the name.
    #[prost(uint64, tag = "1")]
    pub uid: QueueUid,
    /// Namespace.
    #[prost(string, tag = "2")]
    pub namespace: String,
    /// Name.
    #[prost(string, tag = "3")]
    pub name: String,
    /// The shard that holds its messages.
    #[prost(uint64, tag = "4")]
    pub group: GroupId,
    /// Version of the settings below; from 1.
    #[prost(uint64, tag = "5")]
    pub version: u64,
    /// The newest version that the shard has confirmed.
    #[prost(uint64, tag = "6")]
    pub confirmed_version: u64,
    /// Where in its life.
    #[prost(enumeration = "QueueState", tag = "7")]
    pub state: i32,
    /// All settings.
    #[prost(message, required, tag = "8")]
    pub settings: QueueSettings,
    /// Machine time of its creation, ms.
    #[prost(uint64, tag = "9")]
    pub created_ms: u64,
}
