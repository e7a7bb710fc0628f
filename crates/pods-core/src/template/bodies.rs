//! What request bodies say about templates and tags.

use serde_json::Value;

use super::{
    TemplateDefinition,
    reference::{LATEST, ReferenceError, check_tag, check_template_id},
};
use crate::input::{Field, Reader, Violations};

/// Longest description of a template, in characters.
pub const TEMPLATE_DESCRIPTION_MAX: usize = 1600;
/// Longest archive message of a template, in characters; it is Markdown.
pub const TEMPLATE_ARCHIVE_MESSAGE_MAX: usize = 4000;
/// Most metatags of a template.
pub const METATAGS_MAX: usize = 100;
/// Longest metatag, in characters.
pub const METATAG_MAX: usize = 255;
/// Longest commit message of a tag, in characters.
pub const COMMIT_MESSAGE_MAX: usize = 255;
/// Longest description of a tag, in characters.
pub const TAG_DESCRIPTION_MAX: usize = 400;

/// The fields of a template that a user writes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TemplateFields {
    /// What the template is for.
    pub description: String,
    /// Words to find the template by.
    pub metatags: Vec<String>,
    /// What users of the template should know, for example that it is abandoned.
    pub archive_message: String,
}

/// The body of `POST /pods/templates`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTemplate {
    /// The name of the template.
    pub template_id: String,
    /// Everything else.
    pub fields: TemplateFields,
}

/// The body of `PUT /pods/templates/{template_id}`; `null` empties a field.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UpdateTemplate {
    /// See [`TemplateFields::description`].
    pub description: Field<String>,
    /// See [`TemplateFields::metatags`].
    pub metatags: Field<Vec<String>>,
    /// See [`TemplateFields::archive_message`].
    pub archive_message: Field<String>,
}

/// The body of `POST /pods/templates/{template_id}/tags`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTemplateTag {
    /// The name of the tag; `latest` when the body names none.
    pub tag: String,
    /// What changed.
    pub commit_message: String,
    /// What the tag is for.
    pub description: String,
    /// What pods of this tag become; `template` is not pinned yet.
    pub pod_definition: TemplateDefinition,
}

/// The body of `POST /pods/{pod_id}/save_pod_as_template_tag`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTemplateTagFromPod {
    /// The template that gets the tag.
    pub template_id: String,
    /// The name of the tag; `latest` when the body names none.
    pub tag: String,
    /// What changed.
    pub commit_message: String,
}

impl NewTemplate {
    /// Reads the body.
    ///
    /// # Errors
    /// Every problem of the body.
    pub fn read(body: Value) -> Result<Self, Violations> {
        let mut violations = Violations::default();
        let mut reader = Reader::new(&["body"], body, &mut violations);
        let template_id = template_id(&mut reader);
        let fields = UpdateTemplate::read_members(&mut reader).apply(&TemplateFields::default());
        reader.finish();
        violations.or(Self { template_id, fields })
    }
}

impl UpdateTemplate {
    /// Reads the body.
    ///
    /// # Errors
    /// Every problem of the body.
    pub fn read(body: Value) -> Result<Self, Violations> {
        let mut violations = Violations::default();
        let mut reader = Reader::new(&["body"], body, &mut violations);
        let update = Self::read_members(&mut reader);
        reader.finish();
        violations.or(update)
    }

    fn read_members(r: &mut Reader<'_>) -> Self {
        let description = text(r, "description", TEMPLATE_DESCRIPTION_MAX);
        let archive_message = r.string("archive_message");
        if archive_message.value().is_some_and(|text| text.chars().count() > TEMPLATE_ARCHIVE_MESSAGE_MAX) {
            let rule = format!("archive_message must have at most {TEMPLATE_ARCHIVE_MESSAGE_MAX} characters");
            r.rule("archive_message", rule);
        }
        let metatags = r.strings("metatags");
        if metatags.value().is_some_and(|tags| {
            tags.len() > METATAGS_MAX || tags.iter().any(|tag| tag.chars().count() > METATAG_MAX)
        }) {
            let rule =
                format!("at most {METATAGS_MAX} metatags of at most {METATAG_MAX} characters are possible");
            r.rule("metatags", rule);
        }
        Self { description, metatags, archive_message }
    }

    /// The fields after the update.
    #[must_use]
    pub fn apply(&self, stored: &TemplateFields) -> TemplateFields {
        TemplateFields {
            description: applied(&self.description, &stored.description),
            metatags: applied(&self.metatags, &stored.metatags),
            archive_message: applied(&self.archive_message, &stored.archive_message),
        }
    }
}

impl NewTemplateTag {
    /// Reads the body; `pod_definition` still has to be checked against its chain ([`TemplateDefinition::check`]).
    ///
    /// # Errors
    /// Every problem of the body.
    pub fn read(body: Value) -> Result<Self, Violations> {
        let mut violations = Violations::default();
        let mut reader = Reader::new(&["body"], body, &mut violations);
        let r = &mut reader;
        let tag = tag(r);
        let commit_message = commit_message(r);
        let description = or_default(text(r, "description", TAG_DESCRIPTION_MAX));
        let pod_definition = match r.object("pod_definition", TemplateDefinition::read) {
            Field::Set(definition) => definition,
            Field::Null => {
                r.push("pod_definition", "Input should be a valid dictionary, expected a JSON object");
                TemplateDefinition::default()
            }
            Field::Absent => TemplateDefinition::default(),
        };
        reader.finish();
        violations.or(Self { tag, commit_message, description, pod_definition })
    }
}

impl NewTemplateTagFromPod {
    /// Reads the body.
    ///
    /// # Errors
    /// Every problem of the body.
    pub fn read(body: Value) -> Result<Self, Violations> {
        let mut violations = Violations::default();
        let mut reader = Reader::new(&["body"], body, &mut violations);
        let r = &mut reader;
        let (template_id, tag, commit_message) = (template_id(r), tag(r), commit_message(r));
        reader.finish();
        violations.or(Self { template_id, tag, commit_message })
    }
}

fn template_id(r: &mut Reader<'_>) -> String {
    let template_id = r.required_string("template_id");
    noted(r, "template_id", template_id.as_deref().map_or(Ok(()), check_template_id));
    template_id.unwrap_or_default()
}

fn tag(r: &mut Reader<'_>) -> String {
    let tag = match r.string("tag") {
        Field::Set(tag) => tag,
        Field::Absent | Field::Null => LATEST.to_owned(),
    };
    noted(r, "tag", check_tag(&tag));
    tag
}

fn noted(r: &mut Reader<'_>, key: &str, checked: Result<(), ReferenceError>) {
    if let Err(problem) = checked {
        r.rule(key, problem.to_string());
    }
}

fn commit_message(r: &mut Reader<'_>) -> String {
    let message = r.required_string("commit_message").unwrap_or_default();
    limit(r, "commit_message", &message, COMMIT_MESSAGE_MAX);
    message
}

fn text(r: &mut Reader<'_>, key: &str, longest: usize) -> Field<String> {
    let field = r.string(key);
    if let Field::Set(text) = &field {
        limit(r, key, text, longest);
    }
    field
}

fn limit(r: &mut Reader<'_>, key: &str, text: &str, longest: usize) {
    if !text.is_ascii() || text.len() > longest {
        r.rule(key, format!("{key} must be ASCII of at most {longest} characters"));
    }
}

fn or_default<T: Default>(field: Field<T>) -> T {
    match field {
        Field::Set(value) => value,
        Field::Absent | Field::Null => T::default(),
    }
}

fn applied<T: Clone + Default>(field: &Field<T>, stored: &T) -> T {
    match field {
        Field::Absent => stored.clone(),
        Field::Null => T::default(),
        Field::Set(value) => value.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn contains(problems: &Violations, expected: &str) -> bool {
        problems.0.iter().any(|line| line.contains(expected))
    }

    #[test]
    fn a_new_template_needs_an_id_only() {
        let template = NewTemplate::read(json!({"template_id": "mongo"})).unwrap();
        assert_eq!((template.template_id.as_str(), template.fields), ("mongo", TemplateFields::default()));
        let body = json!({"template_id": "mongo", "description": "TACC's MongoDB template",
            "archive_message": "**Abandonné**\n\n".repeat(100),
            "metatags": ["mongo", "database", "TACC", "http"]});
        assert_eq!(NewTemplate::read(body).unwrap().fields.metatags.len(), 4);
        for (body, expected) in [
            (json!({}), "body, template_id: Field required"),
            (
                json!({"template_id": "tags"}),
                "body, template_id: Value error, template_id \"tags\" is reserved",
            ),
            (json!({"template_id": "Mongo"}), "body, template_id: Value error"),
            (
                json!({"template_id": "mongo", "description": "ä"}),
                "body, description: Value error, description must be",
            ),
            (json!({"template_id": "mongo", "description": "a".repeat(1601)}), "at most 1600 characters"),
            (
                json!({"template_id": "mongo", "metatags": "x"}),
                "body, metatags: Input should be a valid list",
            ),
            (json!({"template_id": "mongo", "metatags": vec!["x"; 101]}), "at most 100 metatags"),
            (json!({"template_id": "self"}), "template_id \"self\" is reserved"),
            (
                json!({"template_id": "mongo", "archive_message": "é".repeat(4001)}),
                "archive_message must have at most 4000 characters",
            ),
            (json!({"template_id": "mongo", "permissions": []}), "body, permissions: Extra inputs"),
            (json!([]), "expected a JSON object"),
        ] {
            let problems = NewTemplate::read(body.clone()).unwrap_err();
            assert!(contains(&problems, expected), "{body}: {problems:?}");
        }
    }

    #[test]
    fn an_update_changes_what_it_names_and_null_empties() {
        let stored = TemplateFields {
            description: "old".into(),
            metatags: vec!["a".into()],
            archive_message: "gone".into(),
        };
        let update = UpdateTemplate::read(json!({"description": "new", "archive_message": null})).unwrap();
        let expected =
            TemplateFields { description: "new".into(), archive_message: String::new(), ..stored.clone() };
        assert_eq!(update.apply(&stored), expected);
        assert_eq!(UpdateTemplate::read(json!({})).unwrap().apply(&stored), stored);
        let problems = UpdateTemplate::read(json!({"template_id": "x"})).unwrap_err();
        assert!(contains(&problems, "body, template_id: Extra inputs"));
    }

    #[test]
    fn a_new_tag_needs_a_message() {
        let body = json!({"commit_message": "first cut", "pod_definition": {"image": "mongo:8"}});
        let tag = NewTemplateTag::read(body).unwrap();
        assert_eq!((tag.tag.as_str(), tag.pod_definition.image.as_deref()), ("latest", Some("mongo:8")));
        let empty = NewTemplateTag::read(json!({"commit_message": "nothing yet"})).unwrap();
        assert_eq!(empty.pod_definition, TemplateDefinition::default());
        for (body, expected) in [
            (json!({}), "body, commit_message: Field required"),
            (json!({"commit_message": "é", "pod_definition": {}}), "body, commit_message: Value error"),
            (
                json!({"commit_message": "x", "pod_definition": {}, "tag": "a_b"}),
                "body, tag: Value error, tag must",
            ),
            (json!({"commit_message": "x", "pod_definition": []}), "body, pod_definition: Input should be"),
            (json!({"commit_message": "x", "pod_definition": null}), "body, pod_definition: Input should be"),
            (
                json!({"commit_message": "x", "pod_definition": {"pod_id": "x"}}),
                "pod_definition, pod_id: Extra",
            ),
            (json!({"commit_message": "x", "pod_definition": {}, "kind": "pod"}), "body, kind: Extra inputs"),
        ] {
            let problems = NewTemplateTag::read(body.clone()).unwrap_err();
            assert!(contains(&problems, expected), "{body}: {problems:?}");
        }
    }

    #[test]
    fn a_tag_from_a_pod_names_its_template() {
        let body = json!({"template_id": "mytemplate", "tag": "v1", "commit_message": "Saved"});
        let new = NewTemplateTagFromPod::read(body).unwrap();
        assert_eq!((new.template_id.as_str(), new.tag.as_str()), ("mytemplate", "v1"));
        let problems = NewTemplateTagFromPod::read(json!({"pod_definition": {}})).unwrap_err();
        for expected in
            ["template_id: Field required", "commit_message: Field required", "pod_definition: Extra"]
        {
            assert!(contains(&problems, expected), "{problems:?}");
        }
    }
}
