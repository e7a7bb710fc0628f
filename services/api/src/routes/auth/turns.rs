//! Anybody may begin a login, and cause requests to the database and to the platform by it. How many of them go on at the
//! same time is bounded: for each address, so that one flood does not take all there is, for each pod, and for each
//! tenant. Who finds no room waits for a moment and is asked to come again then.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher},
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, LazyLock, Mutex, PoisonError},
    time::Duration,
};

use actix_web::HttpRequest;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};
use uuid::Uuid;

use super::refusal::Refusal;

/// Longest wait for a turn.
pub(super) const WAIT: Duration = Duration::from_secs(2);
/// Looks at the database for logins, of everybody and from one address.
const LOOKS: usize = 8;
const LOOKS_EACH: usize = 6;
/// Requests to the platform: for a tenant, for a pod, and from one address.
const OF_TENANT: usize = 16;
const OF_POD: usize = 8;
const OF_ADDRESS: usize = 6;
/// Addresses and pods share places by their hash: there are any number of them.
const PLACES: usize = 256;
/// The part of an address of IPv6 that its host does not choose.
const NETWORK: u128 = u128::MAX << 64;

static LOOK: Semaphore = Semaphore::const_new(LOOKS);
static LOOK_FROM: [Semaphore; PLACES] = [const { Semaphore::const_new(LOOKS_EACH) }; PLACES];
static FROM: [Semaphore; PLACES] = [const { Semaphore::const_new(OF_ADDRESS) }; PLACES];
static PODS: [Semaphore; PLACES] = [const { Semaphore::const_new(OF_POD) }; PLACES];
/// There are as many as the platform has.
static TENANTS: LazyLock<Mutex<BTreeMap<String, Arc<Semaphore>>>> = LazyLock::new(Mutex::default);

/// Where a request came from, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Address(usize);

impl Address {
    /// What the nearest proxy says, or else who is connected. Where a proxy hides its visitors they share one place.
    pub fn of(request: &HttpRequest) -> Self {
        let forwarded = request.headers().get_all("x-forwarded-for").last();
        let last = forwarded.and_then(|value| value.to_str().ok()).and_then(|list| list.rsplit(',').next());
        match last.map(str::trim).filter(|last| !last.is_empty()) {
            Some(last) => last.parse::<IpAddr>().map_or_else(|_| Self(place_of(last)), Self::from),
            None => request.peer_addr().map_or(Self(0), |peer| Self::from(peer.ip())),
        }
    }
}

impl From<IpAddr> for Address {
    /// One host has as many addresses of a network with IPv6 as it likes, so they count as one.
    fn from(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V4(address) => place_of(&address),
            IpAddr::V6(address) => place_of(&Ipv6Addr::from_bits(address.to_bits() & NETWORK)),
        })
    }
}

/// A request to the platform may be sent while this is held.
pub(super) struct Turn {
    _address: SemaphorePermit<'static>,
    _pod: SemaphorePermit<'static>,
    _tenant: OwnedSemaphorePermit,
}

/// Does a piece of work that asks the database, when it is its turn.
pub(super) async fn look<T>(
    address: Address,
    work: impl Future<Output = Result<T, Refusal>>,
) -> Result<T, Refusal> {
    let turn = async { Ok((LOOK_FROM[address.0].acquire().await?, LOOK.acquire().await?)) };
    let _turn = within_limit(turn).await?;
    work.await
}

/// The turn of one request to a tenant's Authenticator.
pub(super) async fn platform(address: Address, pod_uid: Uuid, tenant_id: &str) -> Result<Turn, Refusal> {
    let tenant = {
        let mut tenants = TENANTS.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(tenants.entry(tenant_id.to_owned()).or_insert_with(|| Arc::new(Semaphore::new(OF_TENANT))))
    };
    within_limit(async {
        Ok(Turn {
            _address: FROM[address.0].acquire().await?,
            _pod: PODS[place_of(&pod_uid)].acquire().await?,
            _tenant: tenant.acquire_owned().await?,
        })
    })
    .await
}

/// A number below [`PLACES`] that is always the same for the same thing.
pub(super) fn place_of(thing: &(impl Hash + ?Sized)) -> usize {
    let mut hasher = DefaultHasher::new();
    thing.hash(&mut hasher);
    usize::try_from(hasher.finish() % PLACES as u64).unwrap_or(0)
}

async fn within_limit<T>(
    turn: impl Future<Output = Result<T, tokio::sync::AcquireError>>,
) -> Result<T, Refusal> {
    match tokio::time::timeout(WAIT, turn).await {
        Ok(Ok(turn)) => Ok(turn),
        // None of them is ever closed.
        Ok(Err(_)) | Err(_) => Err(Refusal::Unavailable),
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    const POD: Uuid = Uuid::from_u128(1);

    fn address(text: &str) -> Address {
        let request = TestRequest::get().insert_header(("X-Forwarded-For", text.to_owned()));
        Address::of(&request.to_http_request())
    }

    /// Takes turns until there are none.
    async fn all(address: Address, pod_uid: Uuid) -> Vec<Turn> {
        let mut turns = Vec::new();
        while let Ok(turn) = platform(address, pod_uid, "dev").await {
            turns.push(turn);
        }
        turns
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_from_one_address_leaves_turns_to_the_others() {
        let flood = address("203.0.113.1");
        let taken = all(flood, POD).await;
        assert_eq!(taken.len(), OF_ADDRESS);
        let other = address("203.0.113.2");
        let next = all(other, POD).await;
        assert_eq!(next.len(), OF_POD - OF_ADDRESS, "at the same pod");
        let elsewhere = all(other, Uuid::from_u128(2)).await;
        assert_eq!(elsewhere.len(), OF_ADDRESS - next.len(), "at another pod");
        drop(taken);
        assert!(platform(flood, POD, "dev").await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_tenant_has_turns_of_its_own() {
        let mut taken = Vec::new();
        for n in 1..=8_u8 {
            taken.extend(all(address(&format!("198.51.100.{n}")), Uuid::from_u128(n.into())).await);
        }
        assert_eq!(taken.len(), OF_TENANT);
        let free = address("192.0.2.1");
        assert!(platform(free, Uuid::from_u128(9), "dev").await.is_err());
        assert!(platform(free, Uuid::from_u128(9), "two").await.is_ok());
    }

    #[test]
    fn the_nearest_proxy_says_where_a_request_came_from() {
        assert_eq!(address("192.0.2.7, 203.0.113.1"), address("203.0.113.1"));
        assert_eq!(address("192.0.2.8,203.0.113.1"), address("203.0.113.1"));
        assert_ne!(address("203.0.113.1, 192.0.2.7"), address("203.0.113.1"));
        assert_eq!(address(" "), Address::of(&TestRequest::get().to_http_request()));
    }

    #[test]
    fn all_that_a_host_can_call_itself_is_one_address() {
        assert_eq!(address("2001:db8:1:2::1"), address("2001:DB8:1:2:ffff:0:0:7"));
        assert_ne!(address("2001:db8:1:2::1"), address("2001:db8:1:3::1"));
        assert_eq!(address("::ffff:203.0.113.1"), address("203.0.113.1"));
        let peer = TestRequest::get().peer_addr("[2001:db8:1:2::9]:443".parse().unwrap());
        assert_eq!(Address::of(&peer.to_http_request()), address("2001:db8:1:2::1"));
    }
}
