//! One module for each command: its arguments, and what it does with them.

pub(crate) mod bench;
pub(crate) mod bucket;
pub(crate) mod cp;
pub(crate) mod demo;
pub(crate) mod deploy;
pub(crate) mod doctor;
pub(crate) mod events;
pub(crate) mod invoke;
pub(crate) mod logs;
pub(crate) mod ls;
pub(crate) mod queue;
pub(crate) mod rm;
pub(crate) mod status;
pub(crate) mod trace;
pub(crate) mod up;
pub(crate) mod usage;
