//! The last routing document on disk, for a start while Postgres is away.
//!
//! One file: a line of JSON that says which database and which place in its change feed the document stands for,
//! then the document. It is replaced as a whole, so a reader never meets half of one.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use actix_web::web::Bytes;
use anyhow::Context;
use pods_db::changes::Cursor;
use serde::{Deserialize, Serialize, de::IgnoredAny};

use super::board::Document;

const FORMAT: u32 = 1;

/// Where the copy is.
#[derive(Debug, Clone)]
pub struct Disk {
    file: PathBuf,
}

/// What was read from disk.
#[derive(Debug, Clone)]
pub struct Copy {
    /// Identity of the database that the document was made from.
    pub database: String,
    /// The document.
    pub document: Document,
}

#[derive(Serialize, Deserialize)]
struct Head {
    format: u32,
    database: String,
    cursor: Cursor,
}

impl Disk {
    /// A copy in the folder `state_dir`, which is made when something is written.
    pub fn open(state_dir: &Path) -> Self {
        Self { file: state_dir.join("routing.json") }
    }

    /// The file, for messages.
    pub fn path(&self) -> &Path {
        &self.file
    }

    /// The copy, if there is one that can be used.
    pub fn load(&self) -> Option<Copy> {
        match self.read() {
            Ok(copy) => copy,
            Err(error) => {
                tracing::warn!(error = format!("{error:#}"), "the last routing document cannot be used");
                None
            }
        }
    }

    fn read(&self) -> anyhow::Result<Option<Copy>> {
        let bytes = match fs::read(&self.file) {
            Ok(bytes) => Bytes::from(bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| self.file.display().to_string()),
        };
        let end = bytes.iter().position(|byte| *byte == b'\n').context("its first line is missing")?;
        let head: Head = serde_json::from_slice(&bytes[..end]).context("its first line is damaged")?;
        anyhow::ensure!(head.format == FORMAT, "it has the unknown format {}", head.format);
        let bytes = bytes.slice(end + 1..);
        let _complete: IgnoredAny = serde_json::from_slice(&bytes).context("the document is damaged")?;
        Ok(Some(Copy { database: head.database, document: Document { bytes, cursor: head.cursor } }))
    }

    /// Replaces the copy.
    pub fn save(&self, database: &str, document: &Document) -> anyhow::Result<()> {
        let folder = self.file.parent().context("the state folder has no name")?;
        fs::create_dir_all(folder)?;
        let temporary = self.file.with_extension("new");
        let head = Head { format: FORMAT, database: database.to_owned(), cursor: document.cursor };
        let mut file = File::create(&temporary)?;
        writeln!(file, "{}", serde_json::to_string(&head)?)?;
        file.write_all(&document.bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, &self.file)?;
        Ok(())
    }
}
