//! What survives a restart.

use std::{
    collections::HashMap,
    fs::{File, OpenOptions},
    io::Write,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::Command,
    time::{Duration, SystemTime},
};

use pods_core::Level;

use super::*;
use crate::edge::disk::Disk;

const HOUR: Duration = Duration::from_secs(3600);

/// A file that whoever writes it waits for, as on a disk that hangs.
pub struct Hanging(PathBuf);

pub fn hanging(file: PathBuf) -> Hanging {
    assert!(Command::new("mkfifo").arg(&file).status().unwrap().success());
    Hanging(file)
}

impl Hanging {
    /// Whoever waits goes on, without success; afterwards the disk works.
    pub fn goes_on(self) {
        let read = std::fs::read(&self.0).unwrap();
        assert!(!read.is_empty(), "nobody waited");
        std::fs::remove_file(&self.0).unwrap();
    }
}

fn read(disk: &Disk) -> Option<(i64, Vec<RoutedPod>)> {
    let mut saved = disk.load(HOUR)?;
    saved.pods.sort_by(|a, b| a.pod_id.cmp(&b.pod_id));
    assert_eq!(saved.database, "db");
    assert_eq!(saved.extent, Extent::at(saved.extent.below));
    Some((saved.extent.below, saved.pods))
}

#[test]
fn steps_follow_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let mut disk = Disk::open(&folder.path().join("edge"));
    assert!(disk.load(HOUR).is_none());
    let shared = |name: &str| RoutedPod {
        permissions: Arc::from([("bob".to_owned(), Level::Read)]),
        problem: Some("its template is gone".to_owned()),
        ..pod(name, Status::Available)
    };
    let (first, second) = (shared("first"), pod("second", Status::Stopped));
    assert!(disk.append(Extent::at(1), &HashMap::new()).is_err(), "nothing to add to");
    disk.replace("db", Extent::at(7), [first.clone()].into_iter()).unwrap();
    assert_eq!(read(&disk), Some((7, vec![first.clone()])));
    let mode = std::fs::metadata(disk.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o077, 0, "for nobody else: {mode:o}");

    let first = RoutedPod { status: Status::Stopped, live: false, ..first };
    let step = [(first.uid, Some(first.clone())), (second.uid, Some(second.clone()))];
    disk.append(Extent::at(8), &step.into()).unwrap();
    assert_eq!(read(&disk), Some((8, vec![first.clone(), second.clone()])));
    disk.append(Extent::at(9), &[(first.uid, None)].into()).unwrap();
    assert_eq!(read(&disk), Some((9, vec![second.clone()])));
    assert_eq!(read(&Disk::open(&folder.path().join("edge"))), Some((9, vec![second])));
}

#[test]
fn what_is_not_complete_does_not_count() {
    let folder = tempfile::tempdir().unwrap();
    let mut disk = Disk::open(folder.path());
    let pod = pod("shop", Status::Available);
    disk.replace("db", Extent::at(7), [pod.clone()].into_iter()).unwrap();
    let whole = std::fs::read(disk.path()).unwrap();
    let gone: HashMap<_, _> = [(pod.uid, None)].into();
    disk.append(Extent::at(8), &gone).unwrap();
    let longer = std::fs::read(disk.path()).unwrap();
    for length in whole.len()..longer.len() {
        std::fs::write(disk.path(), &longer[..length]).unwrap();
        // The last byte is the end of a line that is complete without it.
        let expected = if length == longer.len() - 1 { (8, vec![]) } else { (7, vec![pod.clone()]) };
        assert_eq!(read(&disk), Some(expected), "{length}");
    }
    // What a failed step left is overwritten.
    std::fs::write(disk.path(), &whole).unwrap();
    let mut disk = Disk::open(folder.path());
    disk.replace("db", Extent::at(7), [pod.clone()].into_iter()).unwrap();
    OpenOptions::new().append(true).open(disk.path()).unwrap().write_all(b"{\"gone\":").unwrap();
    disk.append(Extent::at(8), &gone).unwrap();
    assert_eq!(read(&disk), Some((8, vec![])));
    for damage in ["", "{}", "{}\n{}", "{\"of\":{\"format\":1,\"database\":\"db\"}}\n"] {
        std::fs::write(disk.path(), damage).unwrap();
        assert!(disk.load(HOUR).is_none(), "{damage}");
    }
}

#[test]
fn the_file_does_not_grow_for_ever() {
    let folder = tempfile::tempdir().unwrap();
    let mut disk = Disk::open(folder.path());
    let pod = pod("shop", Status::Available);
    disk.replace("db", Extent::at(1), [pod.clone()].into_iter()).unwrap();
    let once = std::fs::metadata(disk.path()).unwrap().len();
    for xid in 2..1500 {
        disk.append(Extent::at(xid), &[(pod.uid, Some(pod.clone()))].into()).unwrap();
    }
    assert!(disk.is_wasteful());
    disk.compact().unwrap();
    assert!(!disk.is_wasteful());
    assert_eq!(std::fs::metadata(disk.path()).unwrap().len(), once + "1499".len() as u64 * 2 - 2);
    assert_eq!(read(&disk), Some((1499, vec![pod.clone()])));
    disk.append(Extent::at(1500), &[(pod.uid, None)].into()).unwrap();
    assert_eq!(read(&disk), Some((1500, vec![])));
}

#[test]
fn a_copy_that_cannot_be_replaced_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let mut disk = Disk::open(folder.path());
    let pod = pod("shop", Status::Available);
    disk.replace("db", Extent::at(1), [].into_iter()).unwrap();
    // Where the new file would be is a folder.
    let in_the_way = disk.path().with_extension("new");
    std::fs::create_dir(&in_the_way).unwrap();
    assert!(disk.replace("db", Extent::at(2), [pod.clone()].into_iter()).is_err());
    assert!(disk.compact().is_err());
    disk.append(Extent::at(3), &[(pod.uid, Some(pod.clone()))].into()).unwrap();
    assert_eq!(read(&disk), Some((3, vec![pod])));
}

#[test]
fn a_copy_is_judged_by_when_the_process_lived_and_when_the_database_confirmed_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut disk = Disk::open(folder.path());
    disk.replace("db", Extent::at(1), [].into_iter()).unwrap();
    let judged = || {
        let saved = disk.load(HOUR).unwrap();
        (saved.is_recent, saved.is_confirmed)
    };
    assert_eq!(judged(), (false, false), "nobody knows when it was");
    disk.mark_alive().unwrap();
    assert_eq!(judged(), (true, false));
    disk.mark_answered(SystemTime::now() - 2 * HOUR).unwrap();
    assert_eq!(judged(), (true, false));
    disk.mark_answered(SystemTime::now()).unwrap();
    assert_eq!(judged(), (true, true));
    let mark = File::options().write(true).open(folder.path().join("routing.alive")).unwrap();
    mark.set_modified(SystemTime::now() - 2 * HOUR).unwrap();
    assert_eq!(judged(), (false, true));
    mark.set_modified(SystemTime::now() + HOUR).unwrap();
    assert_eq!(judged(), (true, true), "the clock was set back");
}
