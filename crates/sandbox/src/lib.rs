//! Runs functions that are ordinary programs: Python, Node and native executables, each instance in
//! a Linux sandbox of its own.
