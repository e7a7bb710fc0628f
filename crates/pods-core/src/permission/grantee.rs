//! Whom the entries of an object's permissions are for, and for whom they count.

use super::{Level, Resource};
use crate::Tenant;

/// Prefix of the entry of a whole tenant.
const TENANT_PREFIX: &str = "tenant.";
/// The entry of every user of every tenant.
pub const EVERYBODY: &str = "**";
const GRANTEE_MAX: usize = 128;
const TENANT_ID_MAX: usize = 64;

/// Whom an entry of an object's permissions is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Grantee {
    /// A user of the object's tenant.
    User(String),
    /// Every user of a tenant; the id of the tenant.
    Tenant(String),
    /// Every user of every tenant of the site.
    Everybody,
}

impl Grantee {
    /// Reads `username`, `tenant.<tenant_id>` or, for templates, `**`.
    ///
    /// # Errors
    /// What the text should look like.
    pub fn parse(text: &str, resource: Resource) -> Result<Self, &'static str> {
        if text == EVERYBODY {
            return match resource {
                Resource::Template => Ok(Self::Everybody),
                Resource::Pod | Resource::Image => Err("** is possible on templates only"),
            };
        }
        if let Some(tenant) = text.strip_prefix(TENANT_PREFIX) {
            let mut characters = tenant.chars();
            let valid = tenant.len() <= TENANT_ID_MAX
                && characters.next().is_some_and(|c| c.is_ascii_lowercase())
                && characters.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
            return match valid {
                true => Ok(Self::Tenant(tenant.to_owned())),
                false => Err("tenant. must be followed by a tenant id: lower-case letters, digits and -, \
                    starting with a letter, at most 64 characters"),
            };
        }
        let mut characters = text.chars();
        let valid = text.len() <= GRANTEE_MAX
            && characters.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
            && characters.all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '@' | '-'));
        match valid {
            true => Ok(Self::User(text.to_owned())),
            false => Err("user must be letters, digits, _ . @ - and start with a letter or _, \
                at most 128 characters"),
        }
    }

    /// Whether the grantee stands for more than one user: given and taken by service admins, READ only.
    pub fn is_group(&self) -> bool {
        !matches!(self, Self::User(_))
    }
}

/// A user of a tenant, and which entries of a template count for them.
#[derive(Debug, Clone, Copy)]
pub struct Holder<'a> {
    /// The tenant of the request.
    pub tenant: &'a Tenant,
    /// The user who asks.
    pub username: &'a str,
}

impl Holder<'_> {
    /// The entries to look for.
    pub fn keys(&self) -> [String; 3] {
        [self.username.to_owned(), self.tenant_key(), EVERYBODY.to_owned()]
    }

    /// What an entry of a template of the tenant `owner` is worth. A plain name is one of the owner's users; who is
    /// called like an entry for many is not meant by it.
    pub fn level_on_template(&self, owner: &str, key: &str, level: Level) -> Level {
        if key == EVERYBODY || key == self.tenant_key() {
            return level.min(Level::Read);
        }
        let own = key == self.username && owner == self.tenant.tenant_id && !key.starts_with(TENANT_PREFIX);
        if own { level } else { Level::None }
    }

    fn tenant_key(&self) -> String {
        format!("{TENANT_PREFIX}{}", self.tenant.tenant_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grantees_follow_the_grammar() {
        for good in ["alice", "_svc", "a.b-c@x.org", "tenants", "tenant"] {
            assert_eq!(Grantee::parse(good, Resource::Pod), Ok(Grantee::User(good.to_owned())));
        }
        for bad in ["", "1alice", "al ice", "*", "***", "al/ice", "älice", "a*", &"a".repeat(129)] {
            assert!(Grantee::parse(bad, Resource::Template).is_err(), "{bad}");
        }
        for bad in ["tenant.", "tenant.bad!id", "tenant.Dev", "tenant.1", "tenant.a.b", "tenant.-a"] {
            assert!(Grantee::parse(bad, Resource::Template).is_err(), "{bad}");
        }
        let tenant = Grantee::parse("tenant.dev-two", Resource::Pod).unwrap();
        assert_eq!(tenant, Grantee::Tenant("dev-two".to_owned()));
        assert_eq!(Grantee::parse("**", Resource::Template), Ok(Grantee::Everybody));
        assert!(Grantee::parse("**", Resource::Pod).is_err());
        assert!(tenant.is_group() && Grantee::Everybody.is_group());
    }

    #[test]
    fn what_an_entry_of_a_template_is_worth() {
        let (dev, two) = (Tenant::new("site", "dev"), Tenant::new("site", "dev-two"));
        let worth =
            |tenant, username, key, level| Holder { tenant, username }.level_on_template("dev", key, level);
        assert_eq!(worth(&dev, "alice", "alice", Level::Admin), Level::Admin);
        assert_eq!(worth(&two, "alice", "alice", Level::Admin), Level::None, "alice of another tenant");
        assert_eq!(worth(&dev, "bob", "alice", Level::Admin), Level::None);
        assert_eq!(worth(&two, "bob", "tenant.dev-two", Level::Admin), Level::Read, "many get READ at most");
        assert_eq!(worth(&two, "bob", EVERYBODY, Level::Read), Level::Read);
        assert_eq!(worth(&two, "bob", "tenant.dev", Level::Read), Level::None);
        assert_eq!(
            worth(&dev, "tenant.dev-two", "tenant.dev-two", Level::Read),
            Level::None,
            "no user's name"
        );
        let keys = Holder { tenant: &two, username: "bob" }.keys();
        assert_eq!(keys, ["bob", "tenant.dev-two", "**"]);
    }
}
