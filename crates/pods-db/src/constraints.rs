//! Constraint names of the migrations, as client errors.

use diesel::result::DatabaseErrorKind;

use crate::DbError;

/// Whether one of these unique constraints refused a row.
pub(crate) fn is_taken(error: &DbError, names: &[&str]) -> bool {
    violates(error, DatabaseErrorKind::UniqueViolation, names)
}

/// Whether one of these foreign keys refused a row.
pub(crate) fn is_missing(error: &DbError, names: &[&str]) -> bool {
    violates(error, DatabaseErrorKind::ForeignKeyViolation, names)
}

fn violates(error: &DbError, kind: DatabaseErrorKind, names: &[&str]) -> bool {
    match error {
        DbError::DatabaseError(found, info)
            if std::mem::discriminant(found) == std::mem::discriminant(&kind) =>
        {
            info.constraint_name().is_some_and(|name| names.contains(&name))
        }
        _ => false,
    }
}
