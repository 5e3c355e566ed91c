//! Descriptors: raises the soft limit of open files to the hard one, as every connection costs one or two.
//!
//! In:    nothing.   Out: the limit now in force.   Never: fails start-up; a low limit only caps the connections.

/// Raises the soft limit and returns the one in force (`None`: unlimited or unknown).
#[cfg(unix)]
pub fn raise_limit() -> Option<u64> {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        limit.current = limit.maximum;
        // Refused in some sandboxes; the old limit then stays.
        let _ = setrlimit(Resource::Nofile, limit);
    }
    getrlimit(Resource::Nofile).current
}

/// Elsewhere there is no such limit to raise.
#[cfg(not(unix))]
pub fn raise_limit() -> Option<u64> {
    None
}
