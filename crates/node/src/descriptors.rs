//! File descriptors: as many as the system gives, and a part of them for the edge's clients.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::limits::DESCRIPTORS_RESERVED;

/// Raises this process's limit of open files as far as it may. Tells how many connections the edge
/// may hold, at most `wanted`, so that volumes, logs and the operator's own connections always get
/// theirs.
pub(crate) fn for_connections(wanted: usize) -> usize {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    let limit = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => maximum,
        Err(_refused) => current,
    };
    share(limit, wanted)
}

/// What a limit of open files leaves for connections; no limit is None.
fn share(limit: Option<u64>, wanted: usize) -> usize {
    let Some(limit) = limit else { return wanted };
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    wanted.min(limit - DESCRIPTORS_RESERVED.min(limit / 2))
}

#[cfg(test)]
mod tests {
    use super::share;

    #[test]
    fn the_operator_always_has_some_left() {
        assert_eq!(share(None, 16_384), 16_384);
        assert_eq!(share(Some(1 << 20), 16_384), 16_384);
        assert_eq!(share(Some(20_000), 16_384), 15_904);
        assert_eq!(share(Some(1024), 16_384), 512);
        assert_eq!(share(Some(0), 16_384), 0);
    }
}
