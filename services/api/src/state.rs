//! What every handler can reach.

use pods_core::PodPolicy;
use pods_db::Db;
use tapis::Tapis;

/// The state shared by all requests.
pub struct AppState {
    /// The database.
    pub db: Db,
    /// The platform: who is asking.
    pub tapis: Tapis,
    /// What the installation allows.
    pub policy: PodPolicy,
}
