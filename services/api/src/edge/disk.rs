//! What the edge knew last, on disk, for a start while Postgres is away.
//!
//! A journal of JSON lines: which database it is of, then pods as they became and pods that went, and after each step
//! the place in the change feed that everything before stands for. A step counts once its last line is there, so a
//! reader never meets half of one, and writing costs as much as what changed. The file is written anew when most of it is
//! outdated.
//!
//! Beside it are two marks. `routing.alive` says until when the process lived: after a long absence too much may have
//! happened, and pages and gates are not made from the copy. `routing.answered` says when the database last confirmed it:
//! an edge that knows of no other replica gives Traefik nothing older.

use std::{
    collections::{BTreeMap, HashMap},
    fs::{self, File, OpenOptions},
    io::{self, BufRead, BufReader, BufWriter, Seek, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use anyhow::Context;
use pods_core::{Level, Networking, Status, Tenant, routing::RoutedPod};
use pods_db::changes::committed::Extent;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

const FORMAT: u32 = 3;
/// Fewer lines are not worth writing anew.
const LINES_MIN: usize = 1000;
/// The marks, as endings of the file's name.
const ALIVE: &str = "alive";
const ANSWERED: &str = "answered";

/// Where the copy is.
#[derive(Debug)]
pub struct Disk {
    file: PathBuf,
    /// The journal, once this process has written it.
    journal: Option<Journal>,
}

#[derive(Debug)]
struct Journal {
    file: File,
    /// What is there for good; a step that failed may have left something behind it.
    length: u64,
    lines: usize,
    pods: usize,
}

/// What was read from disk.
#[derive(Debug, Clone)]
pub struct SavedRoutes {
    /// Identity of the database that they were made from.
    pub database: String,
    /// Which of its changes they hold.
    pub extent: Extent,
    /// The pods.
    pub pods: Vec<RoutedPod>,
    /// Whether the process was away for a short time only.
    pub is_recent: bool,
    /// Whether it is a short time since the database confirmed them.
    pub is_confirmed: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Of { format: u32, database: String },
    Pod(Box<StoredPod>),
    Gone(Uuid),
    Upto(Extent),
}

#[derive(Serialize, Deserialize)]
struct StoredPod {
    site_id: String,
    tenant_id: String,
    tenant_host: String,
    pod_id: String,
    uid: Uuid,
    k8_name: String,
    status: Status,
    live: bool,
    networking: BTreeMap<String, Networking>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
    permissions: Vec<(String, Level)>,
}

/// What became of pods since the last step: `None` for those that went.
pub type Step = HashMap<Uuid, Option<RoutedPod>>;

impl Disk {
    /// A copy in the folder `state_dir`, which is made when something is written.
    pub fn open(state_dir: &Path) -> Self {
        Self { file: state_dir.join("routing.journal"), journal: None }
    }

    /// The file, for messages.
    pub fn path(&self) -> &Path {
        &self.file
    }

    /// The copy, if there is one that can be used. A time is short when it is at most `absence`.
    pub fn load(&self, absence: Duration) -> Option<SavedRoutes> {
        match self.read() {
            Ok(Some(saved)) => {
                let alive = self.since(ALIVE);
                let is_recent = alive.is_some_and(|away| away <= absence);
                let is_confirmed = self.since(ANSWERED).is_some_and(|ago| ago <= absence);
                if !is_recent {
                    tracing::warn!(
                        file = %self.file.display(),
                        away.seconds = alive.map_or(0, |away| away.as_secs()),
                        "the routes on disk are too old to be served; they are used only to judge the database"
                    );
                }
                Some(SavedRoutes { is_recent, is_confirmed, ..saved })
            }
            Ok(None) => None,
            Err(error) => {
                tracing::warn!(error = format!("{error:#}"), "the routes on disk cannot be used");
                None
            }
        }
    }

    /// How long ago a mark was set.
    fn since(&self, mark: &str) -> Option<Duration> {
        let at = fs::metadata(self.file.with_extension(mark)).and_then(|file| file.modified()).ok()?;
        Some(SystemTime::now().duration_since(at).unwrap_or_default())
    }

    fn read(&self) -> anyhow::Result<Option<SavedRoutes>> {
        let place = || self.file.display().to_string();
        let file = match File::open(&self.file) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(place),
        };
        let mut lines = BufReader::new(file).lines();
        let first = lines.next().context("it is empty")?.with_context(place)?;
        let database = match serde_json::from_str(&first) {
            Ok(Line::Of { format: FORMAT, database }) => database,
            _ => anyhow::bail!("its first line is damaged or of another version"),
        };
        let mut pods: HashMap<Uuid, RoutedPod> = HashMap::new();
        let mut step = Step::new();
        let mut extent = None;
        for line in lines {
            // Whatever comes after a damaged line is of steps that are not complete.
            let Ok(Ok(line)) = line.map(|line| serde_json::from_str(&line)) else { break };
            match line {
                Line::Of { .. } => break,
                Line::Pod(pod) => drop(step.insert(pod.uid, Some((*pod).into()))),
                Line::Gone(uid) => drop(step.insert(uid, None)),
                Line::Upto(upto) => {
                    extent = Some(upto);
                    for (uid, pod) in step.drain() {
                        match pod {
                            Some(pod) => pods.insert(uid, pod),
                            None => pods.remove(&uid),
                        };
                    }
                }
            }
        }
        let extent = extent.context("no step in it is complete")?;
        let pods = pods.into_values().collect();
        Ok(Some(SavedRoutes { database, extent, pods, is_recent: false, is_confirmed: false }))
    }

    /// Replaces the copy.
    ///
    /// # Errors
    /// When the disk fails; the copy is then the one before.
    pub fn replace(
        &mut self,
        database: &str,
        extent: Extent,
        pods: impl Iterator<Item = RoutedPod>,
    ) -> anyhow::Result<()> {
        let folder = self.file.parent().context("the state folder has no name")?;
        fs::create_dir_all(folder)?;
        let temporary = self.file.with_extension("new");
        // The headers that pods are told may be of use to others.
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        let mut to = BufWriter::new(file);
        let database = database.to_owned();
        write_line(&mut to, &Line::Of { format: FORMAT, database })?;
        let mut count = 0;
        for pod in pods {
            write_line(&mut to, &Line::Pod(Box::new(pod.into())))?;
            count += 1;
        }
        write_line(&mut to, &Line::Upto(extent))?;
        let mut file = to.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        fs::rename(&temporary, &self.file)?;
        let length = file.stream_position()?;
        self.journal = Some(Journal { file, length, lines: count, pods: count });
        Ok(())
    }

    /// Adds a step to a copy that this process has written.
    ///
    /// # Errors
    /// When the disk fails or the copy is not of this process; the copy then ends before the step.
    pub fn append(&mut self, extent: Extent, step: &Step) -> anyhow::Result<()> {
        let journal = self.journal.as_mut().context("no copy was written yet")?;
        journal.file.set_len(journal.length)?;
        journal.file.seek(io::SeekFrom::Start(journal.length))?;
        let mut text = Vec::new();
        for (uid, pod) in step {
            let line = match pod {
                Some(pod) => Line::Pod(Box::new(pod.clone().into())),
                None => Line::Gone(*uid),
            };
            write_line(&mut text, &line)?;
        }
        write_line(&mut text, &Line::Upto(extent))?;
        journal.file.write_all(&text)?;
        journal.file.sync_data()?;
        journal.length += text.len() as u64;
        journal.lines += step.len();
        Ok(())
    }

    /// Whether most of the file is outdated.
    pub fn is_wasteful(&self) -> bool {
        let wasteful = |journal: &Journal| journal.lines > LINES_MIN && journal.lines > 2 * journal.pods;
        self.journal.as_ref().is_some_and(wasteful)
    }

    /// Writes the copy anew, without what is outdated.
    ///
    /// # Errors
    /// When the disk fails; the copy is then the one before.
    pub fn compact(&mut self) -> anyhow::Result<()> {
        let saved = self.read()?.context("the copy is gone")?;
        self.replace(&saved.database, saved.extent, saved.pods.into_iter())
    }

    /// Notes that the process lives.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn mark_alive(&self) -> io::Result<()> {
        self.mark(ALIVE, SystemTime::now())
    }

    /// Notes that the database confirmed the copy: it was asked at `asked`.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn mark_answered(&self, asked: SystemTime) -> io::Result<()> {
        self.mark(ANSWERED, asked)
    }

    fn mark(&self, mark: &str, at: SystemTime) -> io::Result<()> {
        if let Some(folder) = self.file.parent() {
            fs::create_dir_all(folder)?;
        }
        File::create(self.file.with_extension(mark))?.set_modified(at)
    }
}

fn write_line(to: &mut impl Write, line: &Line) -> anyhow::Result<()> {
    serde_json::to_writer(&mut *to, line)?;
    Ok(to.write_all(b"\n")?)
}

impl From<RoutedPod> for StoredPod {
    fn from(pod: RoutedPod) -> Self {
        Self {
            site_id: pod.tenant.site_id,
            tenant_id: pod.tenant.tenant_id,
            tenant_host: pod.tenant_host,
            pod_id: pod.pod_id,
            uid: pod.uid,
            k8_name: pod.k8_name,
            status: pod.status,
            live: pod.live,
            networking: pod.networking,
            problem: pod.problem,
            permissions: pod.permissions.to_vec(),
        }
    }
}

impl From<StoredPod> for RoutedPod {
    fn from(pod: StoredPod) -> Self {
        Self {
            tenant: Tenant::new(pod.site_id, pod.tenant_id),
            tenant_host: pod.tenant_host,
            pod_id: pod.pod_id,
            uid: pod.uid,
            k8_name: pod.k8_name,
            status: pod.status,
            live: pod.live,
            networking: pod.networking,
            problem: pod.problem,
            permissions: Arc::from(pod.permissions),
        }
    }
}
