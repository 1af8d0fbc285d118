//! Native functions against a real kernel. What they are allowed depends on who runs the tests: as
//! root, control groups and users of their own are tried too.

#[cfg(test)]
mod support;

#[cfg(test)]
mod crash;
#[cfg(test)]
mod egress;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod isolation;
#[cfg(test)]
mod kinds;
#[cfg(test)]
mod life;
#[cfg(test)]
mod memory;
#[cfg(test)]
mod neighbours;
#[cfg(test)]
mod packages;
#[cfg(test)]
mod protocol;
#[cfg(test)]
mod provided;
