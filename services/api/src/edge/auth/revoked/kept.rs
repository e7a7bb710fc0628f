//! Revoked sessions on disk, for a start while Postgres is away: without them nobody could tell which sessions still
//! count.
//!
//! A journal of JSON lines, one for each session, the last one of a session counts. The file stands for all that the
//! process knew when the file was last touched, so it is touched as long as the process lives.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use anyhow::Context;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

const FORMAT: u32 = 1;
/// Fewer lines are not worth writing anew.
const LINES_MIN: usize = 1000;
/// More are not kept: after a restart without Postgres nobody has a session then.
const MOST: usize = 100_000;

/// A revoked session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    pub sid: Uuid,
    /// When it would have ended anyway.
    pub expires: i64,
    /// Whether the database knows.
    pub told: bool,
}

/// What is on disk.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Saved {
    pub lines: Vec<Line>,
    /// Whether the process was away for a short time only.
    pub is_recent: bool,
}

#[derive(Serialize, Deserialize)]
struct Head {
    format: u32,
}

/// The file.
#[derive(Debug)]
pub struct Kept {
    path: PathBuf,
    /// Once this process has written it.
    journal: Option<Journal>,
}

#[derive(Debug)]
struct Journal {
    file: File,
    /// What is there for good; a write that failed may have left something behind it.
    length: u64,
    lines: usize,
}

impl Kept {
    /// The file in the folder `state_dir`, which is made when something is written.
    pub fn open(state_dir: &Path) -> Self {
        Self { path: state_dir.join("revocations.journal"), journal: None }
    }

    /// What an earlier process left; recent if that lived at most `absence` ago. Nothing if it cannot be used.
    pub fn load(&self, absence: Duration) -> Saved {
        self.read(absence).unwrap_or_else(|error| {
            tracing::warn!(error = format!("{error:#}"), "the revoked sessions on disk cannot be used");
            Saved::default()
        })
    }

    fn read(&self, absence: Duration) -> anyhow::Result<Saved> {
        let mut file = match File::open(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Saved::default()),
            file => file.with_context(|| self.path.display().to_string())?,
        };
        let touched = file.metadata()?.modified()?;
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        // A last line without an end was never finished, and whoever logged out was not told that it counts.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let mut lines = whole.lines();
        let head: Head = serde_json::from_str(lines.next().context("it is empty")?)?;
        anyhow::ensure!(head.format == FORMAT, "it is of another version");
        // With a line that cannot be read, nobody knows which sessions are revoked.
        let lines = lines.map(serde_json::from_str).collect::<Result<_, _>>().context("a line is damaged")?;
        let away = SystemTime::now().duration_since(touched).unwrap_or_default();
        Ok(Saved { lines, is_recent: away <= absence })
    }

    /// Whether everything has to be written, of `all` sessions.
    pub fn wants_all(&self, all: usize) -> bool {
        let wasteful = |journal: &Journal| journal.lines > LINES_MIN && journal.lines > 2 * all;
        self.journal.as_ref().is_none_or(wasteful)
    }

    /// Replaces what is there; with too many sessions nothing is there afterwards.
    ///
    /// # Errors
    /// When the disk fails; the file is then the one before. With too many sessions, too.
    pub fn replace(&mut self, lines: &[Line]) -> anyhow::Result<()> {
        if lines.len() > MOST {
            self.journal = None;
            match fs::remove_file(&self.path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
                Ok(()) | Err(_) => {
                    anyhow::bail!("more than {MOST} sessions are revoked, which is too much to keep")
                }
            }
        }
        fs::create_dir_all(self.path.parent().context("the state folder has no name")?)?;
        let temporary = self.path.with_extension("new");
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        let mut text = serde_json::to_vec(&Head { format: FORMAT })?;
        text.push(b'\n');
        write_lines(&mut text, lines)?;
        file.write_all(&text)?;
        file.sync_all()?;
        fs::rename(&temporary, &self.path)?;
        self.journal = Some(Journal { file, length: text.len() as u64, lines: lines.len() });
        Ok(())
    }

    /// Adds to what this process has written, and says that it lives.
    ///
    /// # Errors
    /// When the disk fails, or nothing was written yet.
    pub fn append(&mut self, lines: &[Line]) -> anyhow::Result<()> {
        let journal = self.journal.as_mut().context("nothing was written yet")?;
        if lines.is_empty() {
            return Ok(journal.file.set_modified(SystemTime::now())?);
        }
        let mut text = Vec::new();
        write_lines(&mut text, lines)?;
        journal.file.set_len(journal.length)?;
        journal.file.seek(io::SeekFrom::Start(journal.length))?;
        journal.file.write_all(&text)?;
        journal.file.sync_data()?;
        journal.length += text.len() as u64;
        journal.lines += lines.len();
        Ok(())
    }
}

fn write_lines(text: &mut Vec<u8>, lines: &[Line]) -> anyhow::Result<()> {
    for line in lines {
        serde_json::to_writer(&mut *text, line)?;
        text.push(b'\n');
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn line(number: u128, told: bool) -> Line {
        Line { sid: Uuid::from_u128(number), expires: 10, told }
    }

    #[test]
    fn what_was_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let mut kept = Kept::open(&folder.path().join("edge"));
        assert_eq!(kept.load(HOUR), Saved::default());
        assert!(kept.append(&[line(1, true)]).is_err() && kept.wants_all(0));
        kept.replace(&[line(1, true)]).unwrap();
        kept.append(&[line(2, false), line(3, true)]).unwrap();
        kept.append(&[]).unwrap();
        assert!(!kept.wants_all(3));
        let lines = vec![line(1, true), line(2, false), line(3, true)];
        let expected = Saved { lines, is_recent: true };
        assert_eq!(Kept::open(&folder.path().join("edge")).load(HOUR), expected);
        let mode = fs::metadata(&kept.path).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "for nobody else: {mode:o}");
        let file = File::options().write(true).open(&kept.path).unwrap();
        file.set_modified(SystemTime::now() - 2 * HOUR).unwrap();
        assert_eq!(kept.load(HOUR), Saved { is_recent: false, ..expected });
    }

    #[test]
    fn a_line_without_end_does_not_count_and_a_damaged_one_spoils_all() {
        let folder = tempfile::tempdir().unwrap();
        let mut kept = Kept::open(folder.path());
        kept.replace(&[line(1, true)]).unwrap();
        let whole = fs::read(&kept.path).unwrap();
        kept.append(&[line(2, false)]).unwrap();
        let longer = fs::read(&kept.path).unwrap();
        for length in whole.len()..longer.len() {
            fs::write(&kept.path, &longer[..length]).unwrap();
            assert_eq!(kept.load(HOUR).lines, [line(1, true)], "{length}");
        }
        for damage in ["", "{}", "{\"format\":2}\n", "{\"format\":1}\nnonsense\n"] {
            fs::write(&kept.path, damage).unwrap();
            assert_eq!(kept.load(HOUR), Saved::default(), "{damage}");
        }
    }

    #[test]
    fn the_file_does_not_grow_for_ever() {
        let folder = tempfile::tempdir().unwrap();
        let mut kept = Kept::open(folder.path());
        kept.replace(&[]).unwrap();
        for _ in 0..=LINES_MIN {
            kept.append(&[line(1, true)]).unwrap();
        }
        assert!(kept.wants_all(1) && !kept.wants_all(LINES_MIN));
        let many: Vec<Line> = (0..=MOST as u128).map(|number| line(number, true)).collect();
        assert!(kept.replace(&many).is_err());
        assert!(kept.replace(&many).is_err(), "nothing was written");
        assert_eq!(kept.load(HOUR), Saved::default(), "what is not complete is of no use");
        kept.replace(&many[1..]).unwrap();
        assert_eq!(kept.load(HOUR).lines.len(), MOST);
    }
}
