//! The routing document as Traefik gets it, and why it may get none.

use std::sync::{Arc, OnceLock};

use actix_web::web::Bytes;
use pods_core::routing::Piece;
use pods_db::changes::committed::Extent;
use sha2::{Digest, Sha256};

/// A routing document and the changes that it stands for.
#[derive(Debug, Clone)]
pub struct Document {
    /// JSON for Traefik, compressed.
    pub gzip: Bytes,
    /// The same as it is, in pieces.
    pub pieces: Arc<[Piece]>,
    /// Which changes are in it.
    pub extent: Extent,
    /// Whether it was made from the copy on disk: other replicas may have served more, see [`super::board::Board::answer`].
    pub from_disk: bool,
    /// A later document of this process has a greater one.
    pub(super) number: u64,
    digest: Arc<OnceLock<String>>,
}

/// Why there is no routing document to serve; Traefik keeps the one that it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotServed {
    /// Just started, without Postgres and without a disk copy.
    #[error("nothing was loaded yet")]
    NotLoaded,
    /// Postgres answers, and not all of it was read yet.
    #[error("the database is being read")]
    BeingRead,
    /// Postgres does not answer: another replica may know more.
    #[error("the database does not answer, and another replica may know more")]
    FeedLost,
    /// Postgres knows less than what was served before.
    #[error("the database is behind the document that was served before")]
    Behind,
    /// Another replica served more than what is on disk here.
    #[error("another replica served more than what is on disk here")]
    PeerAhead,
    /// Not all other replicas answer.
    #[error("another replica does not answer, and may have served more than what is on disk here")]
    PeerSilent,
    /// No other replica is known that could be asked, and the copy on disk is old.
    #[error("what is on disk here is too old")]
    CopyTooOld,
}

impl Document {
    /// A document of the database. A later one of this process has a greater number.
    pub(super) fn new(gzip: Bytes, pieces: Arc<[Piece]>, extent: Extent, number: u64) -> Self {
        Self { gzip, pieces, extent, from_disk: false, number, digest: Arc::default() }
    }

    /// Length of the JSON.
    pub fn length(&self) -> u64 {
        self.pieces.iter().map(|piece| piece.len() as u64).sum()
    }

    /// Tells documents apart. Made when it is asked for.
    pub(super) fn digest(&self) -> String {
        let made = || {
            let mut digest = Sha256::new();
            self.pieces.iter().for_each(|piece| digest.update(piece));
            digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
        };
        self.digest.get_or_init(made).clone()
    }
}
