//! The files of standard templates, read with the readers of the API.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, anyhow, bail};
use chrono::{DateTime, Utc};
use pods_core::{
    PodPolicy,
    image::{ImageReference, NewImage},
    input::Violations,
    resources::ResourceLimits,
    template::{NewTemplate, NewTemplateTag, PinnedReference, Tags, chain, parse_timestamp, tag_timestamp},
};
use serde::Deserialize;
use serde_json::{Value, json};

/// All templates of some folders.
#[derive(Debug, Clone, Default)]
pub struct Catalogue {
    /// In the order of the file names.
    pub entries: Vec<Entry>,
}

/// One template.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The file.
    pub file: PathBuf,
    /// The template.
    pub template: NewTemplate,
    /// The images that its tags use.
    pub images: Vec<NewImage>,
    /// Its tags.
    pub tags: Vec<Tag>,
}

/// One tag.
#[derive(Debug, Clone)]
pub struct Tag {
    /// The tag; the template that its definition builds on is pinned.
    pub tag: NewTemplateTag,
    /// When it counts as added.
    pub at: DateTime<Utc>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    template_id: String,
    description: String,
    metatags: Vec<String>,
    images: Vec<String>,
    tags: Vec<FileTag>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileTag {
    tag: String,
    timestamp: String,
    commit_message: String,
    description: String,
    pod_definition: Value,
}

impl Catalogue {
    /// Reads every `.yaml` file of the folders, without the folders in them.
    ///
    /// # Errors
    /// The first file that cannot be read or is no template, with its path.
    pub fn read(dirs: &[PathBuf]) -> anyhow::Result<Self> {
        let mut files = Vec::new();
        for dir in dirs {
            let place = || format!("the folder of templates {} cannot be read", dir.display());
            for found in fs::read_dir(dir).with_context(place)? {
                files.push(found.with_context(place)?.path());
            }
        }
        files.retain(|file| file.extension().is_some_and(|extension| extension == "yaml"));
        files.sort();
        let entries: Vec<Entry> = files
            .into_iter()
            .map(|file| read_file(&file).with_context(|| file.display().to_string()))
            .collect::<anyhow::Result<_>>()?;
        let mut ids = BTreeSet::new();
        for entry in &entries {
            if !ids.insert(&entry.template.template_id) {
                bail!("{}: two files define {}", entry.file.display(), entry.template.template_id);
            }
        }
        Ok(Self { entries })
    }

    /// All tags in the order in which they were added, so that a template comes before what builds on it.
    pub fn tags(&self) -> Vec<(&Entry, &Tag)> {
        let mut tags: Vec<_> =
            self.entries.iter().flat_map(|entry| entry.tags.iter().map(move |tag| (entry, tag))).collect();
        tags.sort_by_key(|(_, tag)| tag.at);
        tags
    }

    /// What is wrong with definitions in an installation of these limits, a line each.
    pub fn problems(&self, limits: &ResourceLimits) -> Vec<String> {
        let policy = PodPolicy {
            resources: limits.clone(),
            compute_queues: Vec::new(),
            images: Vec::new(),
            main_tenants: Vec::new(),
        };
        let definitions: Tags = self
            .tags()
            .iter()
            .map(|(entry, tag)| (reference(entry, tag), tag.tag.pod_definition.clone()))
            .collect();
        let mut problems = Vec::new();
        for (entry, tag) in self.tags() {
            let reference = reference(entry, tag);
            let mut violations = Violations::default();
            match chain(&reference, &definitions) {
                Ok(found) => found[0].check(&[&reference], &found[1..], &policy, &mut violations),
                Err(error) => violations.push(&[&reference], error.to_string()),
            }
            problems.extend(violations.0);
        }
        problems
    }
}

/// The reference of a tag, as pods will store it.
pub(super) fn reference(entry: &Entry, tag: &Tag) -> String {
    PinnedReference::new(&entry.template.template_id, &tag_timestamp(&tag.tag.tag, tag.at)).to_string()
}

fn read_file(file: &Path) -> anyhow::Result<Entry> {
    let text = fs::read_to_string(file)?;
    let read: File = serde_yaml_ng::from_str(&text)?;
    let template = json!({
        "template_id": read.template_id, "description": read.description, "metatags": read.metatags
    });
    let images = read.images.into_iter().map(read_image).collect::<anyhow::Result<_>>()?;
    let tags = read.tags.into_iter().map(read_tag).collect::<anyhow::Result<_>>()?;
    let template = NewTemplate::read(template).map_err(one_text)?;
    Ok(Entry { file: file.to_owned(), template, images, tags })
}

fn read_image(image: String) -> anyhow::Result<NewImage> {
    let reference = ImageReference::parse(&image)?;
    Ok(NewImage {
        image,
        reference,
        tenants: vec!["**".to_owned()],
        description: "Used by a standard template.".to_owned(),
    })
}

fn read_tag(read: FileTag) -> anyhow::Result<Tag> {
    let name = read.tag.clone();
    let body = json!({
        "tag": read.tag, "commit_message": read.commit_message, "description": read.description,
        "pod_definition": read.pod_definition
    });
    let tag = NewTemplateTag::read(body).map_err(one_text).with_context(|| format!("tag {name}"))?;
    if let Some(parent) = &tag.pod_definition.template {
        PinnedReference::parse(parent).with_context(|| format!("tag {name}"))?;
    }
    let at = parse_timestamp(&read.timestamp).with_context(|| format!("tag {name}"))?;
    Ok(Tag { tag, at })
}

fn one_text(violations: Violations) -> anyhow::Error {
    anyhow!(violations.0.join("; "))
}
