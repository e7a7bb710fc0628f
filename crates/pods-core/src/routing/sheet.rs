//! A large JSON object whose members come and go, kept rendered in pieces.

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
};

use super::{
    Piece,
    fragment::{Fragment, NamedRouter},
};

/// Members of a piece: few enough that a change is cheap, many enough that the pieces are few.
const PIECE_MEMBERS: usize = 64;

/// The members of an object in the order of their names. Names need no escaping.
#[derive(Debug, Default)]
pub(super) struct Sheet {
    parts: Vec<Part>,
}

#[derive(Debug, Default)]
struct Part {
    /// Never empty.
    members: Vec<(Arc<str>, Arc<str>)>,
    /// Without and with a comma in front; made when they are asked for.
    text: [OnceLock<Piece>; 2],
}

impl Sheet {
    /// Adds a member or replaces it.
    pub fn put(&mut self, name: &str, json: &str) {
        let Some(place) = self.place(name) else {
            let members = vec![(name.into(), json.into())];
            return self.parts.push(Part { members, ..Part::default() });
        };
        let part = &mut self.parts[place];
        match part.find(name) {
            Ok(at) if &*part.members[at].1 == json => return,
            Ok(at) => part.members[at].1 = json.into(),
            Err(at) => part.members.insert(at, (name.into(), json.into())),
        }
        part.text = Default::default();
        if part.members.len() > PIECE_MEMBERS {
            let members = part.members.split_off(PIECE_MEMBERS / 2);
            self.parts.insert(place + 1, Part { members, ..Part::default() });
        }
    }

    /// Removes a member.
    pub fn remove(&mut self, name: &str) {
        let Some(place) = self.place(name) else { return };
        let part = &mut self.parts[place];
        let Ok(at) = part.find(name) else { return };
        part.members.remove(at);
        part.text = Default::default();
        if part.members.is_empty() {
            self.parts.remove(place);
        } else if let Some(next) = self.parts.get(place + 1)
            && self.parts[place].members.len() + next.members.len() <= PIECE_MEMBERS / 2
        {
            let next = self.parts.remove(place + 1);
            self.parts[place].members.extend(next.members);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// The members as JSON, without braces. `follows` says that other members stand before them.
    pub fn render(&self, follows: bool, pieces: &mut Vec<Piece>) {
        pieces.extend(self.parts.iter().enumerate().map(|(at, part)| part.text(follows || at > 0)));
    }

    /// The part that has a name or would take it.
    fn place(&self, name: &str) -> Option<usize> {
        let after = self.parts.partition_point(|part| &*part.members[0].0 <= name);
        (!self.parts.is_empty()).then(|| after.saturating_sub(1))
    }
}

impl Part {
    fn find(&self, name: &str) -> Result<usize, usize> {
        self.members.binary_search_by(|(known, _)| (**known).cmp(name))
    }

    fn text(&self, comma: bool) -> Piece {
        let text = self.text[usize::from(comma)].get_or_init(|| {
            let length: usize = self.members.iter().map(|(name, json)| name.len() + json.len() + 4).sum();
            let mut text = Vec::with_capacity(length);
            for (at, (name, json)) in self.members.iter().enumerate() {
                let start: &[u8] = if comma || at > 0 { b",\"" } else { b"\"" };
                for bytes in [start, name.as_bytes(), b"\":", json.as_bytes()] {
                    text.extend_from_slice(bytes);
                }
            }
            text.into()
        });
        Arc::clone(text)
    }
}

/// The `http` or `tcp` section.
#[derive(Debug, Default)]
pub(super) struct Sheets {
    pub middlewares: Sheet,
    pub routers: Sheet,
    pub services: Sheet,
    /// How many fragments name a middleware.
    users: HashMap<Arc<str>, usize>,
}

/// What of a fragment is in the document.
#[derive(Debug, Clone)]
pub(super) struct Shown {
    pub fragment: Arc<Fragment>,
    /// Whether with the routers of the user's own domain.
    pub domain: bool,
}

impl Shown {
    fn routers(&self) -> impl Iterator<Item = &NamedRouter> {
        let domain = self.fragment.domain_routers.as_deref().unwrap_or_default();
        self.fragment.routers.iter().chain(if self.domain { domain } else { &[] })
    }
}

impl PartialEq for Shown {
    fn eq(&self, other: &Self) -> bool {
        self.domain == other.domain && self.fragment == other.fragment
    }
}

impl Sheets {
    /// Adds a fragment with the service `name`.
    pub fn add(&mut self, name: &str, shown: &Shown) {
        for (router, json) in shown.routers() {
            self.routers.put(router, json);
        }
        self.services.put(name, &shown.fragment.service);
        for middleware in &shown.fragment.middlewares {
            *self.users.entry(Arc::clone(&middleware.name)).or_default() += 1;
            self.middlewares.put(&middleware.name, &middleware.json);
        }
    }

    /// Takes away what is left of a fragment once `next` was put in its place.
    pub fn release(&mut self, name: &str, shown: &Shown, next: Option<&Shown>) {
        for (router, _) in shown.routers() {
            if !next.is_some_and(|next| next.routers().any(|(kept, _)| kept == router)) {
                self.routers.remove(router);
            }
        }
        if next.is_none() {
            self.services.remove(name);
        }
        for middleware in &shown.fragment.middlewares {
            if let Some(users) = self.users.get_mut(&middleware.name) {
                *users -= 1;
                if *users == 0 {
                    self.users.remove(&middleware.name);
                    self.middlewares.remove(&middleware.name);
                }
            }
        }
    }
}
