//! The receiving side of a snapshot: parts become a new generation, checked before anyone uses it.
//!
//! Invariant: parts come in order (header, rows, trailer); whatever breaks the order or a check drops the whole generation.

use std::sync::Arc;

use phalanx_proto::raft::v1;
use phalanx_proto::raft::v1::snapshot_part::Part;
use phalanx_storage::checkpoint::{Install, ManifestFields};

use crate::checkpoint::CheckpointStore;
use crate::snapshot::{self, Received};

/// Why a received snapshot is of no use. Nothing of it was taken into use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AssembleError {
    #[error("parts are out of order")]
    Order,
    #[error("{0}")]
    Malformed(String),
    #[error("{received} rows arrived of {expected}")]
    Incomplete { received: u64, expected: u64 },
    #[error("the rows make no machine: {0}")]
    Machine(String),
    #[error("the rows make another machine than the sender's (digest {got:016x}, not {expected:016x})")]
    Digest { got: u64, expected: u64 },
    #[error("keep a part of the snapshot")]
    Storage(#[from] phalanx_storage::Error),
}

/// A snapshot on its way in.
pub(crate) struct Assembly {
    store: Arc<CheckpointStore>,
    begun: Option<(ManifestFields, Install)>,
    row_count: u64,
}

impl Assembly {
    pub(crate) fn new(store: Arc<CheckpointStore>) -> Self {
        Self { store, begun: None, row_count: 0 }
    }

    /// Takes one part; after the trailer, the complete and checked snapshot.
    pub(crate) async fn take(&mut self, part: v1::SnapshotPart) -> Result<Option<Received>, AssembleError> {
        match part.part.ok_or(AssembleError::Order)? {
            Part::Header(header) => {
                if self.begun.is_some() {
                    return Err(AssembleError::Order);
                }
                let malformed =
                    |error: crate::transport::wire::WireError| AssembleError::Malformed(error.to_string());
                let fields = snapshot::fields_of(header).map_err(malformed)?;
                let install = self.store.begin_install().await?;
                self.begun = Some((fields, install));
                Ok(None)
            }
            Part::Rows(rows) => {
                let (fields, install) = self.begun.take().ok_or(AssembleError::Order)?;
                let rows = snapshot::decode_rows(rows).map_err(AssembleError::Malformed)?;
                self.row_count += rows.len() as u64;
                let install = self.store.put_rows(install, rows).await?;
                self.begun = Some((fields, install));
                Ok(None)
            }
            Part::Trailer(trailer) => {
                let (fields, install) = self.begun.take().ok_or(AssembleError::Order)?;
                if trailer.row_count != self.row_count {
                    return Err(AssembleError::Incomplete {
                        received: self.row_count,
                        expected: trailer.row_count,
                    });
                }
                self.check(fields, install).await.map(Some)
            }
        }
    }

    /// Builds the machine from the rows as they were kept, not as they arrived.
    async fn check(&self, fields: ManifestFields, install: Install) -> Result<Received, AssembleError> {
        let (install, machine) = self.store.load_install(install).await?;
        let machine = machine.map_err(|error| AssembleError::Machine(error.to_string()))?;
        if machine.digest() != fields.digest {
            return Err(AssembleError::Digest { got: machine.digest(), expected: fields.digest });
        }
        Ok(Received { install, fields, row_count: self.row_count, machine })
    }
}
