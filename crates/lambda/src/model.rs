//! What AWS Lambda's API knows of a function besides its manifest: settings, aliases, policies,
//! URLs, and what is done with events that fail. What is stored of it is stored as JSON, so fields
//! are only ever added, with defaults.

mod attachments;
mod change;
mod configuration;
mod object;
mod policy;
mod settings;
mod time;

#[cfg(test)]
mod tests;

pub use attachments::{
    Alias, Attachments, Cors, EventConfig, Provisioned, Qualified, Url, UrlAuth, UrlMode,
};
pub use change::{
    CodeSource, ConfigChange, CreateFunction, Tags, UpdateCode, check_architectures,
    check_description, check_package_type, check_tags, is_runtime, runtime_kind,
};
pub use configuration::{View, configuration};
pub use object::{Object, object};
pub use policy::{Permission, Policy};
pub use settings::{Code, LayerUse, Settings};
pub use time::{iso_millis, iso_seconds, iso_time};

/// The qualifier of what was deployed last.
pub const LATEST: &str = "$LATEST";
