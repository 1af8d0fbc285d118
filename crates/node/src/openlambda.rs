//! What a node offers to users of `OpenLambda`.

pub(crate) mod repack;
