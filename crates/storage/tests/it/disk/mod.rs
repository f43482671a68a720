//! The disks: both keep the contract that the log relies on.
