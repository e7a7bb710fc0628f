//! Records in the DNS server that is asked about custom domains.

use std::{collections::BTreeMap, fmt::Write, path::PathBuf};

use uuid::Uuid;

use crate::{env::Env, process::restart};

/// The program. It reads its records when it starts, so only one test at a time may change any: see the group `dns` of
/// nextest.
pub const SERVER: &str = "pods-dns";

/// The TXT records that a test wants to be found; they go with it.
#[derive(Debug)]
pub struct Records<'a> {
    env: &'a Env,
    file: PathBuf,
    texts: BTreeMap<String, Vec<String>>,
}

impl<'a> Records<'a> {
    /// None so far.
    pub fn new(env: &'a Env) -> Self {
        let file = env.dns_dir.join(format!("{}.conf", Uuid::new_v4().simple()));
        Self { env, file, texts: BTreeMap::new() }
    }

    /// The texts of a name from now on; without any there is no such name.
    pub fn say(&mut self, name: &str, texts: &[&str]) {
        self.texts.insert(name.to_owned(), texts.iter().map(|text| (*text).to_owned()).collect());
        let mut lines = String::new();
        for (name, texts) in &self.texts {
            for text in texts {
                assert!(!text.contains('"'), "{text} would end the text");
                writeln!(lines, "txt-record={name},\"{text}\"").expect("a text can be written to");
            }
        }
        std::fs::write(&self.file, lines).expect("the environment has a folder for records");
        restart(self.env, SERVER);
    }
}

impl Drop for Records<'_> {
    fn drop(&mut self) {
        let _gone = std::fs::remove_file(&self.file);
    }
}
