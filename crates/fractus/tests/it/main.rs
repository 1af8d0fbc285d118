//! The real binary, run as a user runs it: each test on a data directory and ports of its own.

#[cfg(test)]
mod aws;
#[cfg(test)]
mod aws_client;
#[cfg(test)]
mod bench;
#[cfg(test)]
mod clients;
#[cfg(test)]
mod crash;
#[cfg(test)]
mod demo;
#[cfg(test)]
mod deploys;
#[cfg(test)]
mod events;
#[cfg(test)]
mod functions;
#[cfg(test)]
mod lambdabench;
#[cfg(test)]
mod ledger;
#[cfg(test)]
mod native;
#[cfg(test)]
mod objects;
#[cfg(test)]
mod openlambda;
#[cfg(test)]
mod support;
#[cfg(test)]
mod traces;
#[cfg(test)]
mod triggers;
#[cfg(test)]
mod up;
#[cfg(test)]
mod usage;
