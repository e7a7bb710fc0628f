//! Parts of the path, decoded once by the router.

use actix_web::web::Path;

/// The `{pod_id}` of a path. Not validated: an id that no pod can have is simply not found.
pub type PodIdPath = Path<String>;

/// `{pod_id}` and `{user}` of a permission's path.
pub type GrantPath = Path<(String, String)>;
