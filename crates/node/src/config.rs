//! What a node may be told: as written ([`ConfigFile`]), and checked ([`Config`]).

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fractus_func::RouteSpec;
use fractus_func::trace::{Cost, Price};
use fractus_stdx::ByteSize;
use serde::Deserialize;
use thiserror::Error;

use crate::limits::{
    CONFIG_MAX, DRAIN_MAX_S, EVENT_RETRY_MAX_S, INSTANCES_MAX, PRICE_MAX, UPSTREAMS_MAX,
};

/// A configuration as a user writes it, in a file or by flags. What is left out keeps its default;
/// unknown keys are refused.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ConfigFile {
    /// The data directory; `fractus-data` by default.
    pub data: Option<PathBuf>,
    /// Address of the edge; `127.0.0.1:8080` by default. Port 0 takes a free one, as everywhere.
    pub edge: Option<SocketAddr>,
    /// Address of the api listener; `127.0.0.1:9000` by default.
    pub api: Option<SocketAddr>,
    /// Address of the admin listener; `127.0.0.1:9090` by default.
    pub admin: Option<SocketAddr>,
    /// Memory of the edge's cache; 256 MiB by default.
    pub cache: Option<ByteSize>,
    /// Bytes on disk that the object store may fill; unbounded by default.
    pub store_max: Option<ByteSize>,
    /// Memory that all guests together may have; half of the machine's by default.
    pub guest_memory: Option<ByteSize>,
    /// Threads of the data plane; as many as there are processors by default.
    pub threads: Option<usize>,
    /// How long a shutdown waits for work in flight, in seconds; 10 by default.
    pub drain_s: Option<u64>,
    /// What calls cost; what AWS Lambda asks for by default.
    pub price: PriceSpec,
    /// How events are treated that fail; as AWS Lambda does by default.
    pub events: EventsSpec,
    /// Where traces go besides this node's memory; nowhere by default.
    pub otel: OtelSpec,
    /// Servers elsewhere that the edge answers from.
    #[serde(rename = "upstream")]
    pub upstreams: Vec<UpstreamSpec>,
}

/// What calls cost, in a currency's unit: from 0 to 1,000,000 of it, in steps of 10⁻¹².
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PriceSpec {
    /// A second of 1 GiB of memory; 0.0000166667 by default.
    pub gb_second: Option<f64>,
    /// A request; 0.0000002 by default.
    pub request: Option<f64>,
}

/// How events are treated that fail.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EventsSpec {
    /// Time before the second and the third attempt, in seconds; 60 and 120 by default.
    pub retry_s: Option<[f64; 2]>,
}

/// Where traces go by OTLP/HTTP, the protocol of OpenTelemetry's collectors.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OtelSpec {
    /// The collector's URL, such as `http://127.0.0.1:4318`; `/v1/traces` is put behind it.
    pub endpoint: Option<String>,
}

/// A server elsewhere, and the requests that go to it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct UpstreamSpec {
    /// Host that requests must be for, lower case; any if left out.
    pub host: Option<String>,
    /// Their path; a prefix when it ends with `/`, else exact.
    pub path: String,
    /// Where they go: `http://` or `https://`, a host, and a path that takes the place of `path`.
    pub url: String,
}

/// A configuration that a node can run with.
#[derive(Clone, Debug)]
pub struct Config {
    /// The data directory.
    pub data: PathBuf,
    /// Address of the edge.
    pub edge: SocketAddr,
    /// Address of the api listener.
    pub api: SocketAddr,
    /// Address of the admin listener.
    pub admin: SocketAddr,
    /// Bytes of the edge's cache.
    pub cache_bytes: u64,
    /// Bytes on disk that the object store may fill, if bounded.
    pub store_max_bytes: Option<u64>,
    /// Bytes that all guests together may have.
    pub guest_memory_bytes: usize,
    /// Instances of all functions at once.
    pub instances: usize,
    /// Threads of the data plane.
    pub threads: usize,
    /// How long a shutdown waits for work in flight.
    pub drain: Duration,
    /// What calls cost.
    pub price: Price,
    /// Time before the second and the third attempt of an event that failed.
    pub event_retries: [Duration; 2],
    /// Where traces are posted as OTLP in JSON, if anywhere; scheme `http` or `https`, with a host.
    pub traces: Option<http::Uri>,
    /// Servers elsewhere that the edge answers from.
    pub upstreams: Vec<Upstream>,
}

/// A checked [`UpstreamSpec`].
#[derive(Clone, Debug)]
pub struct Upstream {
    /// The requests that go to it.
    pub route: RouteSpec,
    /// Where they go; scheme `http` or `https`, with a host.
    pub url: http::Uri,
}

/// A configuration that cannot be used; the message says which key and what to write.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The file is too long to be one.
    #[error("the configuration {} is larger than {CONFIG_MAX} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// Not TOML, or a key that is unknown or of the wrong type.
    #[error("the configuration {} cannot be used", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where and why.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// A value outside of its range.
    #[error("{key} must be {range}")]
    Range {
        /// The key.
        key: &'static str,
        /// What is allowed.
        range: String,
    },
    /// An upstream whose route cannot be one.
    #[error("upstream {url}")]
    UpstreamRoute {
        /// Its URL.
        url: String,
        /// What is wrong with host or path.
        #[source]
        source: Box<fractus_func::ManifestError>,
    },
    /// An upstream whose URL cannot be one.
    #[error("upstream {url}: write http:// or https://, a host, and a path if need be")]
    UpstreamUrl {
        /// The URL.
        url: String,
    },
    /// A collector of traces whose URL cannot be one.
    #[error("otel.endpoint {url}: write http:// or https://, a host, and a path if need be")]
    OtelUrl {
        /// The URL.
        url: String,
    },
}

impl ConfigFile {
    /// Reads a file.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let read = |source| ConfigError::Read {
            path: path.to_owned(),
            source,
        };
        if fs::metadata(path).map_err(read)?.len() > CONFIG_MAX {
            return Err(ConfigError::TooLarge {
                path: path.to_owned(),
            });
        }
        let text = fs::read_to_string(path).map_err(read)?;
        toml::from_str(&text).map_err(|source| ConfigError::Syntax {
            path: path.to_owned(),
            source: Box::new(source),
        })
    }

    /// Where `flags` say something, they win; upstreams of both hold.
    #[must_use]
    pub fn with(mut self, flags: Self) -> Self {
        self.upstreams.extend(flags.upstreams);
        Self {
            data: flags.data.or(self.data),
            edge: flags.edge.or(self.edge),
            api: flags.api.or(self.api),
            admin: flags.admin.or(self.admin),
            cache: flags.cache.or(self.cache),
            store_max: flags.store_max.or(self.store_max),
            guest_memory: flags.guest_memory.or(self.guest_memory),
            threads: flags.threads.or(self.threads),
            drain_s: flags.drain_s.or(self.drain_s),
            price: PriceSpec {
                gb_second: flags.price.gb_second.or(self.price.gb_second),
                request: flags.price.request.or(self.price.request),
            },
            events: EventsSpec {
                retry_s: flags.events.retry_s.or(self.events.retry_s),
            },
            otel: OtelSpec {
                endpoint: flags.otel.endpoint.or(self.otel.endpoint),
            },
            upstreams: self.upstreams,
        }
    }

    /// Checks every value and fills in the defaults.
    pub fn check(self) -> Result<Config, ConfigError> {
        let drain_s = self.drain_s.unwrap_or(10);
        in_range("drain_s", drain_s, (0, DRAIN_MAX_S))?;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = self.threads.unwrap_or(cores);
        in_range("threads", threads, (1, 1024))?;
        in_range(
            "the number of upstreams",
            self.upstreams.len(),
            (0, UPSTREAMS_MAX),
        )?;
        let guest_memory = self.guest_memory.map_or_else(half_of_memory, |size| size.0);
        in_range("guest_memory", guest_memory, (1 << 20, 1 << 46))?;
        let upstreams = self.upstreams.into_iter().map(UpstreamSpec::check);
        Ok(Config {
            data: self.data.unwrap_or_else(|| PathBuf::from("fractus-data")),
            edge: self.edge.unwrap_or_else(|| loopback(8080)),
            api: self.api.unwrap_or_else(|| loopback(9000)),
            admin: self.admin.unwrap_or_else(|| loopback(9090)),
            cache_bytes: self.cache.unwrap_or(ByteSize::mib(256)).0,
            store_max_bytes: self.store_max.map(|size| size.0),
            guest_memory_bytes: usize::try_from(guest_memory).unwrap_or(usize::MAX),
            instances: INSTANCES_MAX,
            threads,
            drain: Duration::from_secs(drain_s),
            price: self.price.check()?,
            event_retries: self.events.check()?,
            traces: self.otel.check()?,
            upstreams: upstreams.collect::<Result<_, _>>()?,
        })
    }
}

impl UpstreamSpec {
    fn check(self) -> Result<Upstream, ConfigError> {
        let route = RouteSpec {
            host: self.host,
            path: self.path,
        };
        if let Err(source) = route.check() {
            return Err(ConfigError::UpstreamRoute {
                url: self.url,
                source: Box::new(source),
            });
        }
        match base_url(&self.url) {
            Some(url) => Ok(Upstream { route, url }),
            None => Err(ConfigError::UpstreamUrl { url: self.url }),
        }
    }
}

impl EventsSpec {
    fn check(self) -> Result<[Duration; 2], ConfigError> {
        let seconds = self.retry_s.unwrap_or([60.0, 120.0]);
        for seconds in seconds {
            in_range("events.retry_s", seconds, (0.001, EVENT_RETRY_MAX_S))?;
        }
        Ok(seconds.map(Duration::from_secs_f64))
    }
}

impl PriceSpec {
    fn check(self) -> Result<Price, ConfigError> {
        let default = Price::default();
        let checked = |key, given: Option<f64>, default| match given {
            Some(given) => cost(given).ok_or_else(|| ConfigError::Range {
                key,
                range: format!("0 to {PRICE_MAX}, with at most {PLACES} places after the point"),
            }),
            None => Ok(default),
        };
        Ok(Price {
            gb_second: checked("price.gb_second", self.gb_second, default.gb_second)?,
            request: checked("price.request", self.request, default.request)?,
        })
    }
}

/// Decimal places of a [`Cost`].
const PLACES: usize = 12;

/// A cost exactly as it was written: what is read is not the number that is nearest in binary, but
/// the shortest decimal one that stands for it.
fn cost(units: f64) -> Option<Cost> {
    let text = format!("{units}");
    let (whole, places) = text.split_once('.').unwrap_or((&text, ""));
    // The text of what is negative or no number has other signs than digits.
    let is_price = units >= 0.0 && units <= PRICE_MAX.into() && places.len() <= PLACES;
    let digits = format!("{whole}{places:0<PLACES$}");
    digits.parse().ok().filter(|_| is_price).map(Cost)
}

impl OtelSpec {
    /// Where traces are posted (OTLP 1.x, "OTLP/HTTP Request").
    fn check(self) -> Result<Option<http::Uri>, ConfigError> {
        let Some(url) = self.endpoint.filter(|url| !url.is_empty()) else {
            return Ok(None);
        };
        let base = base_url(&url).map(|_| url.trim_end_matches('/'));
        let posted = base.and_then(|base| format!("{base}/v1/traces").parse().ok());
        posted.map(Some).ok_or(ConfigError::OtelUrl { url })
    }
}

/// A URL to which paths can be added.
fn base_url(text: &str) -> Option<http::Uri> {
    text.parse::<http::Uri>().ok().filter(|url| {
        matches!(url.scheme_str(), Some("http" | "https"))
            && url.host().is_some_and(|host| !host.is_empty())
            && url.query().is_none()
    })
}

fn in_range<T: PartialOrd + ToString + Copy>(
    key: &'static str,
    value: T,
    (min, max): (T, T),
) -> Result<(), ConfigError> {
    if value >= min && value <= max {
        return Ok(());
    }
    Err(ConfigError::Range {
        key,
        range: format!("{} to {}", min.to_string(), max.to_string()),
    })
}

fn loopback(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}

/// Half of the machine's memory in bytes, or 1 GiB where the system does not tell.
fn half_of_memory() -> u64 {
    let total_kib = fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("MemTotal:"))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()
    });
    total_kib.map_or(1 << 30, |kib| kib * 1024 / 2)
}

#[cfg(test)]
mod tests;
