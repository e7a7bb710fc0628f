//! Writes down what the feed reads, for a start while Postgres is away. Whoever waits for it waits for a short time, and not
//! at all for a disk that does not work.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime},
};

use anyhow::Context;
use pods_db::changes::committed::Extent;
use tokio::task::{JoinError, JoinHandle};

use super::{
    condition::{self, Condition},
    disk::{Disk, Step},
};

/// How often the disk is told that this process lives.
const ALIVE: Duration = Duration::from_secs(10);
/// For the log.
const WHAT: &str = "the routes";

/// See the module.
#[derive(Debug)]
pub struct Saver {
    file: PathBuf,
    /// Elsewhere while something is written.
    disk: Option<Disk>,
    writing: Option<JoinHandle<Written>>,
    unsaved: Unsaved,
    marked: Option<Instant>,
    condition: Condition,
}

/// What is true of the board now.
#[derive(Debug, Default)]
pub struct Known {
    /// The database that was read, and what of it; without it the pods are not written.
    pub of: Option<(String, Extent)>,
    /// When the question was asked that the database answered last.
    pub answered: Option<SystemTime>,
}

/// What the disk does not have yet.
#[derive(Debug, Default)]
struct Unsaved {
    /// Whether it stands for all pods, so that nothing else is of use.
    all: bool,
    step: Step,
}

type Written = (Disk, Unsaved, anyhow::Result<()>);

impl Saver {
    /// Nothing is written yet.
    pub fn new(disk: Disk) -> Self {
        Self {
            file: disk.path().to_owned(),
            disk: Some(disk),
            writing: None,
            unsaved: Unsaved::default(),
            marked: None,
            condition: Condition::default(),
        }
    }

    /// The file, for messages.
    pub fn path(&self) -> &Path {
        &self.file
    }

    /// This is to be written.
    pub fn add(&mut self, step: Step) {
        self.unsaved.step.extend(step);
    }

    /// This is to be written, in place of all that is there.
    pub fn replace(&mut self, step: Step) {
        self.unsaved = Unsaved { all: true, step };
    }

    /// Writes what is not on disk yet. What cannot be written now costs a start without Postgres, and is tried again.
    pub async fn save(&mut self, known: Known) {
        // A disk that works is waited for: whoever starts after us must not know less than what we served.
        let patience = if self.condition.is_failing() { Duration::ZERO } else { condition::LIMIT };
        self.begin(known);
        let Some(writing) = &mut self.writing else { return };
        match tokio::time::timeout(patience, writing).await {
            Ok(written) => {
                self.writing = None;
                self.end(written);
            }
            Err(_) => self.condition.waited_in_vain(WHAT),
        }
    }

    fn begin(&mut self, known: Known) {
        let unsaved = !self.unsaved.step.is_empty() || self.unsaved.all;
        let mark = self.marked.is_none_or(|marked| marked.elapsed() > ALIVE);
        let wanted = (unsaved || mark) && !self.condition.rests();
        let Some(mut disk) = self.disk.take_if(|_| wanted) else { return };
        self.marked = Some(Instant::now());
        let mut unsaved = std::mem::take(&mut self.unsaved);
        self.writing = Some(tokio::task::spawn_blocking(move || {
            let result = write(&mut disk, &mut unsaved, &known);
            (disk, unsaved, result)
        }));
    }

    fn end(&mut self, written: Result<Written, JoinError>) {
        match written {
            Ok((disk, left, result)) => {
                self.disk = Some(disk);
                let later = std::mem::take(&mut self.unsaved);
                self.unsaved = left.followed_by(later);
                self.condition.note(WHAT, &result);
            }
            Err(panic) => tracing::error!(%panic, "writing the routes to disk failed; it is not tried again"),
        }
    }
}

impl Unsaved {
    fn followed_by(mut self, later: Self) -> Self {
        if later.all {
            return later;
        }
        self.step.extend(later.step);
        self
    }
}

/// What could not be written stays for the next time, and nothing is noted that is not true of what is on disk.
fn write(disk: &mut Disk, unsaved: &mut Unsaved, known: &Known) -> anyhow::Result<()> {
    if let Some((database, extent)) = &known.of {
        if unsaved.all {
            disk.replace(database, *extent, unsaved.step.values().flatten().cloned())?;
        } else if !unsaved.step.is_empty() {
            disk.append(*extent, &unsaved.step)?;
        }
        *unsaved = Unsaved::default();
    }
    if let Some(answered) = known.answered {
        disk.mark_answered(answered).context("noting that the database answered")?;
    }
    disk.mark_alive().context("noting that the process lives")?;
    if disk.is_wasteful() {
        disk.compact().context("writing the copy anew")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use pods_core::{Status, routing::RoutedPod};

    use super::*;
    use crate::edge::tests::{disk::hanging, pod};

    fn step(pods: &[&RoutedPod]) -> Step {
        pods.iter().map(|pod| (pod.uid, Some((*pod).clone()))).collect()
    }

    fn known(xid: i64) -> Known {
        Known { of: Some(("db".to_owned(), Extent::at(xid))), answered: None }
    }

    fn on_disk(folder: &Path) -> Vec<String> {
        let saved = Disk::open(folder).load(Duration::from_secs(3600));
        let mut ids: Vec<_> = saved.into_iter().flat_map(|it| it.pods).map(|pod| pod.pod_id).collect();
        ids.sort();
        ids
    }

    #[tokio::test]
    async fn nobody_waits_long_for_a_disk_that_hangs() {
        let folder = tempfile::tempdir().unwrap();
        let (first, second) = (pod("first", Status::Available), pod("second", Status::Available));
        let mut saver = Saver::new(Disk::open(folder.path()));
        let hanging = hanging(folder.path().join("routing.new"));
        let begun = Instant::now();
        saver.replace(step(&[&first]));
        saver.save(known(1)).await;
        assert!(begun.elapsed() < 2 * condition::LIMIT, "{:?}", begun.elapsed());
        let begun = Instant::now();
        saver.add(step(&[&second]));
        saver.save(known(2)).await;
        assert!(begun.elapsed() < condition::LIMIT, "nobody waits twice: {:?}", begun.elapsed());
        hanging.goes_on();
        let limit = Instant::now() + Duration::from_secs(30);
        while on_disk(folder.path()) != ["first", "second"] {
            assert!(Instant::now() < limit, "nothing was lost");
            saver.condition.has_rested();
            saver.save(known(2)).await;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        saver.save(known(2)).await;
        assert!(!saver.condition.is_failing());
    }

    #[tokio::test]
    async fn a_disk_that_failed_is_left_alone_for_a_while() {
        let folder = tempfile::tempdir().unwrap();
        let mut saver = Saver::new(Disk::open(folder.path()));
        let in_the_way = folder.path().join("routing.new");
        fs::create_dir(&in_the_way).unwrap();
        saver.replace(step(&[&pod("shop", Status::Available)]));
        saver.save(known(1)).await;
        assert!(saver.condition.is_failing());
        fs::remove_dir(&in_the_way).unwrap();
        saver.save(known(1)).await;
        assert!(saver.writing.is_none() && on_disk(folder.path()).is_empty(), "it was tried a moment ago");
        saver.condition.has_rested();
        while on_disk(folder.path()).is_empty() {
            saver.save(known(1)).await;
        }
    }
}
