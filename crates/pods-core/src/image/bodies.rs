//! Bodies of `POST /pods/images`, `POST /pods/images/bulk` and `PUT /pods/images/{image_id}`.

use serde_json::Value;

use super::{ImageReference, check_tenant_entry};
use crate::{
    input::{Field, Reader, Violations},
    limits::{IMAGE_DESCRIPTION_MAX, IMAGE_TENANTS_MAX, IMAGES_BULK_MAX},
};

/// An image that shall be allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewImage {
    /// The reference as typed.
    pub image: String,
    /// The reference.
    pub reference: ImageReference,
    /// Who may use it; nobody when empty.
    pub tenants: Vec<String>,
    /// What it is for.
    pub description: String,
}

/// Changes of an allowed image. `null` leaves a field as it is, so neither is ever [`Field::Null`]: emptying
/// `tenants` takes the image away from everybody, which nobody means by leaving a form's field out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpdateImage {
    /// See [`NewImage::tenants`].
    pub tenants: Field<Vec<String>>,
    /// See [`NewImage::description`].
    pub description: Field<String>,
}

impl NewImage {
    /// Reads the body of `POST /pods/images`.
    ///
    /// # Errors
    /// Every problem of the body.
    pub fn read(body: Value) -> Result<Self, Violations> {
        let mut violations = Violations::default();
        let new = Self::read_at(&["body"], body, &mut violations);
        match new {
            Some(new) => violations.or(new),
            None => Err(violations),
        }
    }

    /// Reads the body of `POST /pods/images/bulk`, an array.
    ///
    /// # Errors
    /// Every problem of the body.
    pub fn read_bulk(body: Value) -> Result<Vec<Self>, Violations> {
        let mut violations = Violations::default();
        let Value::Array(items) = body else {
            violations.push(&["body"], "Input should be a valid list, expected a JSON array of objects");
            return Err(violations);
        };
        if items.len() > IMAGES_BULK_MAX {
            violations.rule(&["body"], format!("at most {IMAGES_BULK_MAX} images are possible at once"));
            return Err(violations);
        }
        let mut images = Vec::with_capacity(items.len());
        for (at, item) in items.into_iter().enumerate() {
            images.extend(Self::read_at(&["body", &at.to_string()], item, &mut violations));
        }
        violations.or(images)
    }

    fn read_at(place: &[&str], value: Value, violations: &mut Violations) -> Option<Self> {
        let mut reader = Reader::new(place, value, violations);
        let r = &mut reader;
        let image = r.required_string("image");
        let reference = image.as_deref().and_then(|image| match ImageReference::parse(image) {
            Ok(reference) => Some(reference),
            Err(problem) => {
                r.rule("image", problem.to_string());
                None
            }
        });
        let tenants = tenants(r).value().cloned().unwrap_or_default();
        let description = description(r).value().cloned().unwrap_or_default();
        reader.finish();
        Some(Self { image: image?, reference: reference?, tenants, description })
    }
}

impl UpdateImage {
    /// Reads the body of `PUT /pods/images/{image_id}`.
    ///
    /// # Errors
    /// Every problem of the body.
    pub fn read(body: Value) -> Result<Self, Violations> {
        let mut violations = Violations::default();
        let mut reader = Reader::new(&["body"], body, &mut violations);
        let update = Self { tenants: tenants(&mut reader), description: description(&mut reader) };
        reader.finish();
        violations.or(update)
    }
}

fn tenants(r: &mut Reader<'_>) -> Field<Vec<String>> {
    let tenants = null_is_absent(r.strings("tenants"));
    for entry in tenants.value().into_iter().flatten() {
        if let Err(problem) = check_tenant_entry(entry) {
            r.rule("tenants", problem);
        }
    }
    if tenants.value().is_some_and(|tenants| tenants.len() > IMAGE_TENANTS_MAX) {
        r.rule("tenants", format!("at most {IMAGE_TENANTS_MAX} tenants are possible"));
    }
    tenants
}

fn description(r: &mut Reader<'_>) -> Field<String> {
    let description = null_is_absent(r.string("description"));
    if description.value().is_some_and(|text| !text.is_ascii() || text.len() > IMAGE_DESCRIPTION_MAX) {
        r.rule(
            "description",
            format!("description must be ASCII of at most {IMAGE_DESCRIPTION_MAX} characters"),
        );
    }
    description
}

fn null_is_absent<T>(field: Field<T>) -> Field<T> {
    match field {
        Field::Null => Field::Absent,
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_small_body_allows_nobody() {
        let new = NewImage::read(json!({"image": "acme/web:1"})).unwrap();
        assert_eq!(
            (new.image.as_str(), new.reference.canonical().as_str()),
            ("acme/web:1", "docker.io/acme/web:1")
        );
        assert_eq!((new.tenants.len(), new.description.as_str()), (0, ""));
    }

    #[test]
    fn each_problem_is_named() {
        let cases = [
            (json!({}), "body, image: Field required"),
            (json!({"image": "a:b:c"}), "body, image: Value error, image \"a:b:c\" is not a valid reference"),
            (json!({"image": "a", "tenants": ["x y"]}), "body, tenants: Value error, tenants entry \"x y\""),
            (json!({"image": "a", "tenants": "tacc"}), "valid list of strings"),
            (json!({"image": "a", "description": "ä"}), "must be ASCII"),
            (json!({"image": "a", "added_by": "me"}), "Extra inputs"),
            (json!([]), "expected a JSON object"),
        ];
        for (body, expected) in cases {
            let problems = NewImage::read(body.clone()).unwrap_err().0;
            assert!(problems.iter().any(|line| line.contains(expected)), "{body}: {problems:?}");
        }
    }

    #[test]
    fn a_bulk_names_the_position_of_each_problem() {
        let images = NewImage::read_bulk(json!([{"image": "a"}, {"image": "b", "tenants": ["**"]}])).unwrap();
        assert_eq!(images.len(), 2);
        let problems = NewImage::read_bulk(json!([{"image": "a"}, {"image": ""}, 7])).unwrap_err().0;
        assert!(
            problems[0].starts_with("body, 1, image: ") && problems[1].starts_with("body, 2"),
            "{problems:?}"
        );
        assert!(NewImage::read_bulk(json!({})).unwrap_err().0[0].contains("expected a JSON array"));
    }

    #[test]
    fn an_update_leaves_out_what_is_null() {
        let update = UpdateImage::read(json!({"tenants": null, "description": "x"})).unwrap();
        assert_eq!(update, UpdateImage { tenants: Field::Absent, description: Field::Set("x".to_owned()) });
        let update = UpdateImage::read(json!({"tenants": []})).unwrap();
        assert_eq!(update.tenants, Field::Set(Vec::new()));
        assert!(UpdateImage::read(json!({"image": "x"})).is_err());
    }
}
