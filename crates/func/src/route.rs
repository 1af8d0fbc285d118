//! Which target a request's host and path lead to.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use thiserror::Error;

use crate::RouteSpec;
use crate::limits::ROUTE_PATH_MAX;

/// Routes from hosts and paths to targets of some kind `T`; the most specific wins: a route with a
/// host before one without, then the longest path, an exact path before a prefix.
#[derive(Clone, Debug)]
pub struct RouteTable<T> {
    hosts: BTreeMap<Box<str>, Paths<T>>,
    any: Paths<T>,
}

#[derive(Clone, Debug)]
struct Paths<T> {
    exact: BTreeMap<Box<str>, T>,
    /// Keys end with `/`.
    prefix: BTreeMap<Box<str>, T>,
}

impl<T> Paths<T> {
    const fn new() -> Self {
        Self {
            exact: BTreeMap::new(),
            prefix: BTreeMap::new(),
        }
    }

    fn find(&self, path: &str) -> Option<&T> {
        if let Some(target) = self.exact.get(path) {
            return Some(target);
        }
        // No route is longer: what lies beyond cannot matter.
        let mut end = path.floor_char_boundary(ROUTE_PATH_MAX + 1);
        while let Some(slash) = path[..end].rfind('/') {
            if let Some(target) = self.prefix.get(&path[..=slash]) {
                return Some(target);
            }
            end = slash;
        }
        None
    }
}

/// Two routes with the same host and path.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("the route {host}{path} is taken already")]
pub struct RouteTableError {
    /// The host, or `*`.
    pub host: String,
    /// The path.
    pub path: String,
}

impl<T> Default for RouteTable<T> {
    fn default() -> Self {
        Self {
            hosts: BTreeMap::new(),
            any: Paths::new(),
        }
    }
}

impl<T> RouteTable<T> {
    /// Adds a route.
    pub fn insert(&mut self, route: &RouteSpec, target: T) -> Result<(), RouteTableError> {
        let paths = match &route.host {
            Some(host) => self
                .hosts
                .entry(host.as_str().into())
                .or_insert_with(Paths::new),
            None => &mut self.any,
        };
        let map = if route.path.ends_with('/') {
            &mut paths.prefix
        } else {
            &mut paths.exact
        };
        match map.entry(route.path.as_str().into()) {
            Entry::Vacant(free) => {
                free.insert(target);
                Ok(())
            }
            Entry::Occupied(_) => Err(RouteTableError {
                host: route.host.clone().unwrap_or_else(|| "*".to_owned()),
                path: route.path.clone(),
            }),
        }
    }

    /// The target for a request. `host` is lower case and without its port.
    pub fn find(&self, host: &str, path: &str) -> Option<&T> {
        let own = if self.hosts.is_empty() {
            None
        } else {
            self.hosts.get(host)
        };
        own.and_then(|paths| paths.find(path))
            .or_else(|| self.any.find(path))
    }
}

#[cfg(test)]
mod tests {
    use super::RouteTable;
    use crate::RouteSpec;

    fn table(routes: &[(&str, &str)]) -> RouteTable<usize> {
        let mut table = RouteTable::default();
        for (at, (host, path)) in routes.iter().enumerate() {
            let host = (!host.is_empty()).then(|| (*host).to_owned());
            table
                .insert(
                    &RouteSpec {
                        host,
                        path: (*path).to_owned(),
                    },
                    at,
                )
                .unwrap();
        }
        table
    }

    #[test]
    fn the_most_specific_route_wins() {
        let table = table(&[
            ("", "/"),
            ("", "/img/"),
            ("", "/img/cat"),
            ("", "/img/big/"),
            ("a.example", "/img/"),
        ]);
        for (host, path, at) in [
            ("b.example", "/", 0),
            ("b.example", "/x/y", 0),
            ("b.example", "/img", 0),
            ("b.example", "/img/", 1),
            ("b.example", "/img/cat", 2),
            ("b.example", "/img/cat/", 1),
            ("b.example", "/img/big/x", 3),
            ("a.example", "/img/big/x", 4),
            ("a.example", "/other", 0),
        ] {
            assert_eq!(table.find(host, path), Some(&at), "{host}{path}");
        }
    }

    #[test]
    fn no_route_is_none_and_a_second_one_is_refused() {
        let mut table = table(&[("", "/a")]);
        assert_eq!(table.find("h", "/b"), None);
        assert_eq!(table.find("h", ""), None);
        let same = RouteSpec {
            host: None,
            path: "/a".to_owned(),
        };
        assert_eq!(
            table.insert(&same, 9).unwrap_err().to_string(),
            "the route */a is taken already"
        );
    }
}
