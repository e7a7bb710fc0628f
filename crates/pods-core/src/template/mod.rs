//! Templates: references, definitions, and what a pod becomes when its template chain is merged into it.

pub mod bodies;
pub mod definition;
pub mod derive;
pub mod merge;
pub mod overrides;
pub mod provenance;
pub mod reference;
pub mod reset;
pub mod save;

#[cfg(test)]
mod arbitrary;

pub use bodies::{NewTemplate, NewTemplateTag, NewTemplateTagFromPod, TemplateFields, UpdateTemplate};
pub use definition::TemplateDefinition;
pub use derive::{ChainError, Derived, Tags, chain, derive, entries};
pub use merge::merge_chain;
#[cfg(test)]
use merge::merge_templates;
pub use overrides::{MountOverride, TemplateOverrides};
pub use reference::{
    PinnedParts, PinnedReference, ReferenceError, TemplateReference, check_tag, check_template_id,
    parse_timestamp, tag_timestamp,
};
pub use reset::{ResetError, reset_fields, unset_to_defaults};
pub use save::as_template_definition;
