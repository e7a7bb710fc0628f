//! May this visitor pass this gate?

use super::{Gate, Visitor};
use crate::Level;

/// What a request proves about who sends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Credential<'a> {
    /// Nothing.
    Nothing,
    /// A session of this gate, or a valid token in the header `X-Tapis-Token`, of this visitor.
    Visitor(&'a Visitor),
    /// A session of this gate, in a request that a page of somebody else sent; see [`super::Sender::may_use_session`].
    Borrowed,
    /// A token in the header `X-Tapis-Token` that is not valid.
    BadToken,
}

/// How the request came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// Whether a browser goes to a page, so that it can be led to a login; everything else is a program.
    pub navigation: bool,
}

/// What becomes of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict<'g> {
    /// It may pass, with these headers; nobody's when the entry demands no login.
    Allow(Vec<(&'g str, String)>),
    /// Its sender has to log in first.
    Login,
    /// Its sender is known and may not pass.
    Forbidden(Refusal),
    /// It brought a token that is not valid.
    BadToken,
}

/// Why a known visitor may not pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Of another tenant, which the pod was not opened to.
    #[error("you are logged in, but this pod is for users of another tenant only")]
    OtherTenant,
    /// Not among those who are allowed.
    #[error("you are logged in, but you are not among the users whom the owners of this pod let in")]
    NotListed,
    /// The browser was made to send the request by a page that is not the pod's.
    #[error("you are logged in, but this request was sent by a page of another website")]
    ForeignPage,
}

/// The one decision about visitors; it needs nothing but what it is given.
pub fn decide<'g>(gate: &'g Gate, credential: Credential<'_>, request: Request) -> Verdict<'g> {
    if !gate.tapis_auth() {
        return Verdict::Allow(Vec::new());
    }
    match credential {
        // Who only opened a page with an old token can log in; a program has to be told.
        Credential::BadToken if !request.navigation => Verdict::BadToken,
        Credential::BadToken | Credential::Nothing => Verdict::Login,
        Credential::Borrowed => Verdict::Forbidden(Refusal::ForeignPage),
        Credential::Visitor(visitor) => match admit(gate, visitor) {
            Ok(()) => Verdict::Allow(gate.headers_for(visitor)),
            Err(refusal) => Verdict::Forbidden(refusal),
        },
    }
}

/// Whether a visitor is one of those for whom the entry is.
///
/// # Errors
/// [`Refusal`] with the reason.
pub fn admit(gate: &Gate, visitor: &Visitor) -> Result<(), Refusal> {
    let given = gate.tenant_level(visitor);
    let own = visitor.tenant == *gate.tenant();
    if !own && given < Level::Read {
        return Err(Refusal::OtherTenant);
    }
    let level = given.max(gate.personal_level(visitor));
    let matches = |entry: &String| match entry.as_str() {
        "*" => true,
        "AUTHORIZED_READS" => level >= Level::Read,
        "AUTHORIZED_USERS" => level >= Level::User,
        "AUTHORIZED_ADMINS" => level >= Level::Admin,
        // A name is one of the pod's tenant: another tenant may have somebody of the same name.
        name => own && name.eq_ignore_ascii_case(&visitor.username),
    };
    if gate.allowed_users().iter().any(matches) { Ok(()) } else { Err(Refusal::NotListed) }
}
