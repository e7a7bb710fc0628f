//! Parts of the path, decoded once by the router. Not validated: an id that nothing can have is simply not found.

use actix_web::web::Path;

/// The `{pod_id}` of a path.
pub type PodIdPath = Path<String>;

/// `{pod_id_net}`: a pod id, and the name of a networking entry after a hyphen unless it is `default`.
pub type PodNetPath = Path<String>;

/// `{pod_id}` and `{run_index}`.
pub type LogRunPath = Path<(String, String)>;

/// `{pod_id}` and `{user}` of a permission's path.
pub type GrantPath = Path<(String, String)>;

/// The `{template_id}` of a path.
pub type TemplateIdPath = Path<String>;

/// `{template_id}` and `{tag_id}`, the latter `tag` or `tag@timestamp`.
pub type TagPath = Path<(String, String)>;

/// `{template_id}` and `{user}` of a permission's path.
pub type TemplateGrantPath = Path<(String, String)>;

/// The rest of an image's path, slashes included: `library/redis` and `library%2Fredis` are the same.
pub type ImagePath = Path<String>;
