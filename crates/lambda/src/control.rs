//! The API that manages functions: which operation a request asks for ([`route`]), what stands for
//! a function ([`FunctionRef`]) and what a refusal looks like ([`ServiceError`]).

mod error;
mod name;
mod route;

pub use error::{Constraint, ERROR_TYPE_HEADER, ServiceError};
pub use name::{
    FunctionRef, LayerRef, Qualifier, alias_name, function_arn, layer_arn, layer_version_arn,
    mapping_arn, url_id,
};
pub use route::{Operation, Route, RouteError, route};
