//! Open files: as many as the system lets us have. Each agent's connection is one, and the usual soft limit of 1024 was
//! made for programs that use `select`.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Files beside agents' connections: pages, the database, log, libraries.
pub const RESERVED: usize = 512;

/// Raises the soft limit of open files to the hard one; the limit that holds then.
pub fn raise() -> usize {
    let had = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: had.maximum, maximum: had.maximum };
    let limit = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => had.maximum,
        Err(errno) => {
            tracing::warn!(error = %errno, soft = ?had.current, hard = ?had.maximum, "limit of open files not raised");
            had.current
        }
    };
    limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX)
}

/// How many connections of agents there may be under a limit of open files; `wanted` where it allows that many.
pub fn connections(limit: usize, wanted: usize) -> usize {
    let possible = limit.saturating_sub(RESERVED).max(1);
    if possible < wanted {
        tracing::warn!(
            limit,
            need = wanted + RESERVED,
            connections = possible,
            "limit of open files is low; fewer agents can connect. Raise it (ulimit -n, LimitNOFILE=)"
        );
    }
    possible.min(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        let hard = getrlimit(Resource::Nofile).maximum;
        assert_eq!(raise(), hard.and_then(|hard| usize::try_from(hard).ok()).unwrap_or(usize::MAX));
        assert_eq!(getrlimit(Resource::Nofile).current, hard);
    }

    #[test]
    fn connections_leave_room_for_pages_and_database() {
        assert_eq!(connections(usize::MAX, 10_000), 10_000);
        assert_eq!(connections(RESERVED + 10, 10_000), 10);
        assert_eq!(connections(10, 10_000), 1);
    }
}
