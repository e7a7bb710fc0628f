//! What bodies may hold that no Rust type says: numbers and booleans as text, mounts that are removed.

use std::borrow::Cow;

use utoipa::{
    PartialSchema, ToSchema,
    openapi::{Object, RefOr, schema::Schema},
};

use super::bodies::VolumeMountInput;

/// A whole number of 32 bits, as a number or as text; an empty text is "not set". [`super::rules`] writes its schema.
pub struct LenientInteger;

/// A boolean, as such, as 0 or 1, or as a word. [`super::rules`] writes its schema.
pub struct LenientBoolean;

/// A mount, or null for its removal. [`super::rules`] writes its schema.
pub struct MountOrNull;

impl ToSchema for MountOrNull {
    fn name() -> Cow<'static, str> {
        "VolumeMountOrNull".into()
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((VolumeMountInput::name().into_owned(), VolumeMountInput::schema()));
        VolumeMountInput::schemas(schemas);
    }
}

impl PartialSchema for MountOrNull {
    fn schema() -> RefOr<Schema> {
        Object::new().into()
    }
}

impl ToSchema for LenientInteger {
    fn name() -> Cow<'static, str> {
        "LenientInteger".into()
    }
}

impl PartialSchema for LenientInteger {
    fn schema() -> RefOr<Schema> {
        Object::new().into()
    }
}

impl ToSchema for LenientBoolean {
    fn name() -> Cow<'static, str> {
        "LenientBoolean".into()
    }
}

impl PartialSchema for LenientBoolean {
    fn schema() -> RefOr<Schema> {
        Object::new().into()
    }
}
