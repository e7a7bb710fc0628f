//! A routing document taken apart without reading what its members say.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde_json::value::RawValue;

/// Section (`http`), kind (`routers`) and name, and the exact text.
pub type Members = BTreeMap<(String, String, String), String>;

/// The members of a document.
pub fn members(document: &[u8]) -> Result<Members> {
    type Section<'a> = BTreeMap<String, BTreeMap<String, &'a RawValue>>;
    let sections: BTreeMap<String, Section<'_>> =
        serde_json::from_slice(document).context("the document is no JSON of its shape")?;
    let mut members = Members::new();
    for (section, kinds) in sections {
        for (kind, texts) in kinds {
            for (name, text) in texts {
                members.insert((section.clone(), kind.clone(), name), text.get().to_owned());
            }
        }
    }
    Ok(members)
}
