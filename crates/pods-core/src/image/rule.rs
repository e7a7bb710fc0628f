//! Which tenants may use which images.

use super::{ImageError, ImageReference};

/// The tenants that `*` stands for unless the configuration names others.
pub const DEFAULT_MAIN_TENANTS: &[&str] = &["tacc", "icicleai", "icicle", "dev", "astria", "a2cps", "scoped"];

/// An entry of the list of allowed images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageRule {
    /// The reference as somebody wrote it, for answers.
    pub image: String,
    /// What is allowed; a tag or digest restricts it to that.
    pub reference: ImageReference,
    /// Who may use it, see [`tenants_allow`].
    pub tenants: Vec<String>,
}

impl ImageRule {
    /// An entry for the given tenants.
    ///
    /// # Errors
    /// [`ImageError`] when the text is no image reference.
    pub fn new(image: &str, tenants: Vec<String>) -> Result<Self, ImageError> {
        Ok(Self { image: image.to_owned(), reference: ImageReference::parse(image)?, tenants })
    }

    /// Whether the tenant may use the image, see [`tenants_allow`].
    pub fn open_to(&self, tenant: &str, main_tenants: &[String]) -> bool {
        tenants_allow(&self.tenants, tenant, main_tenants)
    }
}

/// Whether `tenants` includes a tenant. In this order: `-<tenant>` excludes it, `**` includes every tenant, `*` the
/// main tenants, and a tenant's id that tenant. An empty list includes nobody.
pub fn tenants_allow(tenants: &[String], tenant: &str, main_tenants: &[String]) -> bool {
    let names = |entry: &str| tenants.iter().any(|name| name == entry);
    if tenants.iter().any(|name| name.strip_prefix('-') == Some(tenant)) {
        return false;
    }
    names("**") || (names("*") && main_tenants.iter().any(|main| main == tenant)) || names(tenant)
}

/// Whether some rule that covers the image includes the tenant. Rules only add up: an exclusion in one rule does not
/// take away what another one allows.
pub fn allowed<'r>(
    image: &ImageReference,
    rules: impl IntoIterator<Item = &'r ImageRule>,
    tenant: &str,
    main_tenants: &[String],
) -> bool {
    rules.into_iter().any(|rule| image.is_covered_by(&rule.reference) && rule.open_to(tenant, main_tenants))
}

/// Checks an entry of `tenants`.
///
/// # Errors
/// A sentence for the user.
pub fn check_tenant_entry(entry: &str) -> Result<(), String> {
    let id = entry.strip_prefix('-').unwrap_or(entry);
    let is_id = (1..=64).contains(&id.len())
        && id.starts_with(|c: char| c.is_ascii_alphanumeric())
        && id.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    match matches!(entry, "*" | "**") || is_id {
        true => Ok(()),
        false => Err(format!(
            "tenants entry \"{}\" must be a tenant id, - and a tenant id to exclude it, * or **",
            entry.chars().take(60).collect::<String>()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(image: &str, tenants: &[&str]) -> ImageRule {
        ImageRule::new(image, tenants.iter().map(|name| (*name).to_owned()).collect()).unwrap()
    }

    #[test]
    fn tenants_are_included_in_the_documented_order() {
        let cases: &[(&[&str], &str, bool)] = &[
            (&[], "tacc", false),
            (&["**"], "anything", true),
            (&["**", "-dev"], "dev", false),
            (&["dev", "-dev"], "dev", false),
            (&["**", "-dev"], "dev-two", true),
            (&["*"], "tacc", true),
            (&["*"], "other", false),
            (&["*", "-tacc"], "tacc", false),
            (&["other"], "other", true),
            (&["other"], "tacc", false),
        ];
        let main: Vec<String> = DEFAULT_MAIN_TENANTS.iter().map(|name| (*name).to_owned()).collect();
        for (tenants, tenant, expected) in cases {
            assert_eq!(rule("x", tenants).open_to(tenant, &main), *expected, "{tenants:?} {tenant}");
        }
    }

    #[test]
    fn a_rule_allows_what_it_covers() {
        let main = vec!["dev".to_owned()];
        let rules = [rule("postgres:16", &["other"]), rule("redis", &["-dev"]), rule("redis:7", &["*"])];
        let may = |image: &str, tenant: &str| {
            allowed(&ImageReference::parse(image).unwrap(), &rules, tenant, &main)
        };
        assert!(may("postgres:16", "other") && !may("postgres:15", "other") && !may("postgres:16", "dev"));
        assert!(may("redis:7", "dev") && !may("redis:6", "dev"));
        assert!(!may("evil/redis:7", "dev"));
    }

    #[test]
    fn entries_of_tenants_follow_the_grammar() {
        for good in ["*", "**", "dev", "dev-two", "-dev", "-dev-two", "3dem"] {
            assert!(check_tenant_entry(good).is_ok(), "{good}");
        }
        for bad in ["", "-", "--dev", "***", "de v", "dév", "dev.org"] {
            assert!(check_tenant_entry(bad).is_err(), "{bad}");
        }
    }
}
