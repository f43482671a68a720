//! Generated gRPC code and the channel that it is called through: no other logic lives here.
//!
//! The proto files are in `proto/` at the root of the repository; they document themselves.

pub mod channel;

/// What users call: `phalanx.v1`.
pub mod v1 {
    #![allow(clippy::all, clippy::pedantic, missing_docs)]
    tonic::include_proto!("phalanx.v1");
}

/// What nodes say to each other: `phalanx.raft.v1`. Not promised to users.
pub mod raft {
    /// Version 1.
    pub mod v1 {
        #![allow(clippy::all, clippy::pedantic, missing_docs)]
        tonic::include_proto!("phalanx.raft.v1");
    }
}

/// All files as an encoded `google.protobuf.FileDescriptorSet`, for reflection and for tests over the API.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
