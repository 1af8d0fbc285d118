use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use fractus_func::trace::{Cost, Price};
use fractus_stdx::{ByteSize, ErrorChain};

use super::{Config, ConfigError, ConfigFile};

fn read(text: &str) -> Result<Config, ConfigError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("fractus.toml");
    fs::write(&path, text).unwrap();
    ConfigFile::read(&path)?.check()
}

fn error(text: &str) -> String {
    ErrorChain(&read(text).unwrap_err()).to_string()
}

#[test]
fn an_empty_file_is_a_node_on_loopback() {
    let config = read("").unwrap();
    assert_eq!(config.data, PathBuf::from("fractus-data"));
    assert_eq!(config.edge.to_string(), "127.0.0.1:8080");
    assert_eq!(config.api.to_string(), "127.0.0.1:9000");
    assert_eq!(config.admin.to_string(), "127.0.0.1:9090");
    assert_eq!(config.cache_bytes, 256 << 20);
    assert_eq!(config.store_max_bytes, None);
    assert!(config.guest_memory_bytes >= 1 << 20);
    assert_eq!(config.price, Price::default());
    assert_eq!(config.traces, None);
}

#[test]
fn prices_are_exactly_what_is_written() {
    let request = |text: &str| read(&format!("[price]\nrequest = {text}\n"));
    for (text, pico) in [
        ("0", 0),
        ("0.0000002", 200_000),
        ("0.000000000001", 1),
        ("2e-7", 200_000),
        ("0.1", 100_000_000_000),
        ("999999.123456", 999_999_123_456_000_000),
        ("1000000", 1_000_000_000_000_000_000),
    ] {
        assert_eq!(request(text).unwrap().price.request, Cost(pico), "{text}");
    }
    let text = "-0.1 nan inf -inf 1000000.5 0.0000000000001 1e300 1e-300";
    for text in text.split(' ') {
        let told = request(text).unwrap_err().to_string();
        assert!(
            told.contains("price.request must be 0 to"),
            "{text}: {told}"
        );
    }
    let price = read("[price]\ngb_second = 0.0000166667\n").unwrap().price;
    assert_eq!(price, Price::default());
}

#[test]
fn a_collector_is_a_url() {
    let traces = |endpoint: &str| read(&format!("[otel]\nendpoint = \"{endpoint}\"\n"));
    for (endpoint, posted) in [
        ("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/traces"),
        (
            "https://c.example/otlp/",
            "https://c.example/otlp/v1/traces",
        ),
    ] {
        let traces = traces(endpoint).unwrap().traces.unwrap();
        assert_eq!(traces.to_string(), posted);
    }
    assert_eq!(traces("").unwrap().traces, None);
    for endpoint in [
        "127.0.0.1:4318",
        "grpc://c:4317",
        "http://c/?key=1",
        "http://",
    ] {
        let told = traces(endpoint).unwrap_err().to_string();
        assert!(told.contains("otel.endpoint"), "{endpoint}: {told}");
    }
}

#[test]
fn what_is_written_holds_and_flags_win() {
    let text = "edge = \"0.0.0.0:80\"\ncache = \"64MiB\"\nstore_max = \"1GiB\"\ndrain_s = 3\n\
                [[upstream]]\nhost = \"old.example\"\npath = \"/\"\nurl = \"https://origin.example/base\"\n";
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c.toml");
    fs::write(&path, text).unwrap();
    let flags = ConfigFile {
        edge: Some("127.0.0.1:0".parse().unwrap()),
        guest_memory: Some(ByteSize::mib(64)),
        ..ConfigFile::default()
    };
    let config = ConfigFile::read(&path)
        .unwrap()
        .with(flags)
        .check()
        .unwrap();
    assert_eq!(config.edge.to_string(), "127.0.0.1:0");
    assert_eq!(config.cache_bytes, 64 << 20);
    assert_eq!(config.store_max_bytes, Some(1 << 30));
    assert_eq!(config.guest_memory_bytes, 64 << 20);
    assert_eq!(config.drain, Duration::from_secs(3));
    assert_eq!(config.upstreams[0].url.path(), "/base");
    assert_eq!(
        config.upstreams[0].route.host.as_deref(),
        Some("old.example")
    );
}

#[test]
fn what_cannot_be_used_is_named() {
    for (text, says) in [
        ("edgee = \"127.0.0.1:1\"", "unknown field `edgee`"),
        ("edge = \"localhost\"", "edge"),
        ("threads = 0", "threads must be 1 to 1024"),
        ("guest_memory = 5", "guest_memory must be"),
        ("drain_s = 100000", "drain_s must be 0 to 900"),
        (
            "[[upstream]]\npath = \"x\"\nurl = \"http://a\"",
            "must start with /",
        ),
        (
            "[[upstream]]\npath = \"/\"\nurl = \"ftp://a\"",
            "upstream ftp://a: write",
        ),
        (
            "[[upstream]]\npath = \"/\"\nurl = \"/a\"",
            "upstream /a: write",
        ),
    ] {
        let error = error(text);
        assert!(error.contains(says), "{text}: {error}");
    }
    let missing = ConfigFile::read(&PathBuf::from("/nonexistent/x")).unwrap_err();
    assert!(
        missing
            .to_string()
            .contains("cannot read the configuration /nonexistent/x")
    );
}
