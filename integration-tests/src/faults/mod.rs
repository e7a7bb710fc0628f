//! The table of faults (`faults/faults.yaml`), and what it takes to bring each of them about and to judge what
//! `explain` says.

pub mod broken;
pub mod inject;
pub mod played;
pub mod run;
pub mod table;
pub mod watch;

pub use table::{Fault, Table};
