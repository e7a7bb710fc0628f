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

/// Mounts by path, null for a removal, or one of the older shapes. [`super::rules`] writes its schema.
pub struct Mounts;

impl ToSchema for Mounts {
    fn name() -> Cow<'static, str> {
        "VolumeMountsInput".into()
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((VolumeMountInput::name().into_owned(), VolumeMountInput::schema()));
        VolumeMountInput::schemas(schemas);
    }
}

impl PartialSchema for Mounts {
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
