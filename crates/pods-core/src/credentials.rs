//! The credentials of a pod and the built-in placeholders `<<tapissecret_x>>` and `<<TAPIS_x>>` that show them.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use crate::{
    patch::Home,
    placeholder::{LegacyPiece, legacy_pieces},
};

/// What belongs to one pod alone, made with its row and sealed in the database.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credentials {
    /// The account of the pod's users.
    pub user_username: String,
    /// Its password.
    pub user_password: String,
    /// The account of the service; no answer of the API shows it.
    pub admin_username: String,
    /// Its password.
    pub admin_password: String,
    /// The values of `${pods:random:N}`, each made once: the first one of a key of the secret map under the key, one
    /// of another length under `key:N`, which is no key. A start that was accepted with the old length keeps its value.
    #[serde(default)]
    pub random: BTreeMap<String, String>,
}

/// What a built-in placeholder stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Builtin<'a> {
    /// A part of the credentials, under its own name.
    Credential { name: &'static str, value: &'a str },
    /// Something that is no secret.
    Public(&'a str),
}

impl Credentials {
    /// The value of `${pods:random:<length>}` for a key of the secret map.
    pub fn random_value(&self, key: &str, length: usize) -> Option<&str> {
        let fits = |value: &&String| value.len() == length;
        let first = self.random.get(key).filter(fits);
        first.or_else(|| self.random.get(&format!("{key}:{length}")).filter(fits)).map(String::as_str)
    }

    /// Keeps a new value of `${pods:random:N}` beside those that there are.
    pub fn add_random_value(&mut self, key: &str, value: String) {
        let name = match self.random.contains_key(key) {
            true => format!("{key}:{}", value.len()),
            false => key.to_owned(),
        };
        self.random.insert(name, value);
    }

    /// Drops the values of `${pods:random:N}` for which `wanted`, called with key and length, says so.
    pub fn retain_random_values(&mut self, wanted: impl Fn(&str, usize) -> bool) {
        self.random.retain(|name, value| {
            let key = name.split_once(':').map_or(name.as_str(), |(key, _)| key);
            wanted(key, value.len())
        });
    }

    /// Replaces every `<<tapissecret_x>>` and `<<TAPIS_x>>`; an unknown name becomes nothing. What is put in is not
    /// looked at again.
    pub fn interpolate(&self, text: &str, home: Home<'_>) -> String {
        let value = |piece| match piece {
            LegacyPiece::Text(text) => text,
            LegacyPiece::Name { name, .. } => self.builtin(name, home).value(),
        };
        legacy_pieces(text).into_iter().map(value).collect()
    }

    /// [`Self::interpolate`] for every value.
    pub fn interpolate_all(&self, values: &mut BTreeMap<String, String>, home: Home<'_>) {
        for value in values.values_mut().filter(|value| value.contains("<<")) {
            *value = self.interpolate(value, home);
        }
    }

    /// Whether the placeholder with this name shows a part of the credentials.
    pub(crate) fn is_credential(name: &str) -> bool {
        let account = name.strip_suffix("_username").or_else(|| name.strip_suffix("_password"));
        matches!(account, Some("user" | "admin" | "service"))
    }

    /// The value of the placeholder with this name. `service_x` is another name of `admin_x`.
    pub(crate) fn builtin<'a>(&'a self, name: &str, home: Home<'a>) -> Builtin<'a> {
        let credential = |name, value| Builtin::Credential { name, value };
        match name {
            "user_username" => credential("user_username", &self.user_username),
            "user_password" => credential("user_password", &self.user_password),
            "admin_username" | "service_username" => credential("admin_username", &self.admin_username),
            "admin_password" | "service_password" => credential("admin_password", &self.admin_password),
            "pod_id" => Builtin::Public(home.pod_id),
            "tenant_id" => Builtin::Public(&home.tenant.tenant_id),
            "site_id" => Builtin::Public(&home.tenant.site_id),
            _ => Builtin::Public(""),
        }
    }
}

impl<'a> Builtin<'a> {
    /// What stands in a text in its place.
    pub(crate) fn value(self) -> &'a str {
        match self {
            Self::Credential { value, .. } | Self::Public(value) => value,
        }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("user_username", &self.user_username).finish_non_exhaustive()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::Tenant;

    pub(crate) fn credentials() -> Credentials {
        Credentials {
            user_username: "shop".to_owned(),
            user_password: "user-canary".to_owned(),
            admin_username: "podsservice".to_owned(),
            admin_password: "admin-canary".to_owned(),
            random: BTreeMap::from([("TOKEN".to_owned(), "random-canary".to_owned())]),
        }
    }

    fn interpolate(text: &str) -> String {
        let tenant = Tenant::new("tacc", "dev");
        credentials()
            .interpolate(text, Home { tenant: &tenant, tenant_host: "dev.localhost", pod_id: "shop" })
    }

    #[test]
    fn every_name_has_its_value_under_both_prefixes() {
        let names = [
            ("user_username", "shop"),
            ("user_password", "user-canary"),
            ("admin_username", "podsservice"),
            ("service_username", "podsservice"),
            ("admin_password", "admin-canary"),
            ("service_password", "admin-canary"),
            ("pod_id", "shop"),
            ("tenant_id", "dev"),
            ("site_id", "tacc"),
            ("whatever", ""),
        ];
        for (name, value) in names {
            assert_eq!(interpolate(&format!("a <<tapissecret_{name}>> b")), format!("a {value} b"), "{name}");
            assert_eq!(interpolate(&format!("<<TAPIS_{name}>>")), value, "{name}");
            let account = name.contains("username") || name.contains("password");
            assert_eq!(Credentials::is_credential(name), account, "{name}");
        }
    }

    #[test]
    fn other_texts_stay_as_they_are() {
        for text in
            ["", "<TAPIS_user_password>", "<<tapisusername>>", "<<EOF", "${pods:secrets:X}", "<<TAPIS_"]
        {
            assert_eq!(interpolate(text), text);
        }
        let both = "<<TAPIS_user_username>>:<<TAPIS_user_password>>@db";
        assert_eq!(interpolate(both), "shop:user-canary@db");
    }

    #[test]
    fn debug_output_has_no_password() {
        assert!(!format!("{:?}", credentials()).contains("canary"));
    }
}
