use http::Method;

use super::{Operation, RouteError, TABLE, route};

const FUNCTION: &str = "/2015-03-31/functions";
const ARN: &str = "arn%3Aaws%3Alambda%3Aus-east-1%3A123456789012%3Afunction%3Ahello";

fn get(path: &str) -> Result<Operation, RouteError> {
    route(&Method::GET, path, "").map(|route| route.operation)
}

#[test]
fn each_operation_is_found_at_its_own_path() {
    assert_eq!(TABLE.len(), 91);
    let mut names: Vec<_> = TABLE.iter().map(|entry| entry.operation.name()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), TABLE.len());
    for entry in TABLE {
        let method = Method::from_bytes(entry.method.as_bytes()).unwrap();
        let filled = |segment: &str| match segment.strip_prefix('{') {
            Some(name) => format!("a-{}", name.trim_end_matches('}')),
            None => segment.to_owned(),
        };
        let segments: Vec<_> = entry.path.split('/').map(filled).collect();
        let path = segments.join("/");
        for path in [path.clone(), format!("{path}/")] {
            let query = entry.query.unwrap_or("");
            let route = route(&method, &path, query).unwrap();
            assert_eq!(route.operation, entry.operation, "{path}");
            for name in entry
                .path
                .split('/')
                .filter_map(|each| each.strip_prefix('{'))
            {
                let name = name.trim_end_matches('}');
                assert_eq!(route.parameter(name), format!("a-{name}"));
            }
            assert_eq!(route.parameter("Nothing"), "");
        }
        assert_eq!(
            route(&Method::PATCH, &path, ""),
            Err(RouteError::WrongMethod)
        );
        assert!((200..300).contains(&entry.operation.success_status()));
    }
}

#[test]
fn the_query_tells_where_the_path_does_not() {
    let operation = |path, query| route(&Method::GET, path, query).unwrap().operation;
    let layers = "/2018-10-31/layers";
    assert_eq!(operation(layers, ""), Operation::ListLayers);
    assert_eq!(operation(layers, "MaxItems=1"), Operation::ListLayers);
    let by_arn = operation(layers, "Arn=arn&find=LayerVersion");
    assert_eq!(by_arn, Operation::GetLayerVersionByArn);
    assert_eq!(
        operation(layers, "find=LayerVersions"),
        Operation::ListLayers
    );
    let provisioned = "/2019-09-30/functions/f/provisioned-concurrency";
    assert_eq!(
        operation(provisioned, "Qualifier=1"),
        Operation::GetProvisionedConcurrencyConfig
    );
    assert_eq!(
        operation(provisioned, "List=ALL"),
        Operation::ListProvisionedConcurrencyConfigs
    );
    let deleted = route(&Method::DELETE, provisioned, "List=ALL&Qualifier=1").unwrap();
    assert_eq!(
        deleted.operation,
        Operation::DeleteProvisionedConcurrencyConfig
    );
}

#[test]
fn parameters_are_decoded() {
    let path = format!("{FUNCTION}/{ARN}/aliases/pro%64");
    let found = route(&Method::PUT, &path, "").unwrap();
    assert_eq!(found.operation, Operation::UpdateAlias);
    let arn = "arn:aws:lambda:us-east-1:123456789012:function:hello";
    assert_eq!(found.parameter("FunctionName"), arn);
    assert_eq!(found.parameter("Name"), "prod");
    let raw = format!("{FUNCTION}/{arn}/aliases/%24x");
    let found = route(&Method::GET, &raw, "").unwrap();
    assert_eq!(found.parameter("FunctionName"), arn);
    assert_eq!(found.parameter("Name"), "$x");

    let path = "/2018-10-31/layers/l/versions/7/policy/s";
    let found = route(&Method::DELETE, path, "").unwrap();
    assert_eq!(found.operation, Operation::RemoveLayerVersionPermission);
    assert_eq!(found.parameter("LayerName"), "l");
    assert_eq!(found.parameter("VersionNumber"), "7");
    assert_eq!(found.parameter("StatementId"), "s");
}

#[test]
fn slashes_only_where_values_have_them() {
    let arn = "a%3A1%2Fdurable-execution%2Fb%2Fc";
    let found = format!("/2025-12-01/durable-executions/{arn}/history");
    let found = route(&Method::GET, &found, "").unwrap();
    assert_eq!(found.operation, Operation::GetDurableExecutionHistory);
    assert_eq!(
        found.parameter("DurableExecutionArn"),
        "a:1/durable-execution/b/c"
    );
    assert_eq!(
        get(&format!("{FUNCTION}/a%2Fpolicy")),
        Err(RouteError::NoSuchPath)
    );
    assert_eq!(
        get(&format!("{FUNCTION}/a%2fpolicy")),
        Err(RouteError::NoSuchPath)
    );
    assert_eq!(
        get("/2025-12-01/durable-executions/a%2F..%2Fb"),
        Err(RouteError::NoSuchPath)
    );
}

#[test]
fn confused_paths_are_none() {
    for path in [
        "",
        "/",
        "//",
        "2015-03-31/functions",
        "//2015-03-31/functions",
        "/2015-03-31//functions",
        "/2015-03-31/functions//",
        "/2015-03-31/functions//policy",
        "/2015-03-31/functions/.",
        "/2015-03-31/functions/..",
        "/2015-03-31/functions/../functions",
        "/2015-03-31/functions/a/../b",
        "/2015-03-31/functions/%2e%2e",
        "/2015-03-31/functions/%2E%2e/policy",
        "/2015-03-31/functions/%2e",
        "/2015-03-31/functions/a%00",
        "/2015-03-31/functions/a%0a",
        "/2015-03-31/functions/a%7f",
        "/2015-03-31/functions/%",
        "/2015-03-31/functions/a%2",
        "/2015-03-31/functions/a%zz",
        "/2015-03-31/functions/%ff",
        "/2015-03-31/functions/a/unknown",
        "/2015-03-31/functions/a/policy/b/c",
        "/2015-03-31/Functions",
        "/2015-03-31/%66unctions",
        "/2015-03-31%2Ffunctions",
        "/2015-03-31/functions%2Fa",
        "/2015-03-31/functions/a%2Fpolicy%2Fb",
        "/2015-03-31/{FunctionName}",
        "/2015-04-01/functions",
        "/2015-03-31",
        "*",
    ] {
        assert_eq!(get(path), Err(RouteError::NoSuchPath), "{path}");
        for method in [Method::DELETE, Method::POST] {
            assert!(route(&method, path, "").is_err(), "{method} {path}");
        }
    }
}

#[test]
fn other_methods_are_told_apart_from_other_paths() {
    assert_eq!(
        get("/2015-03-31/functions/f/invocations"),
        Err(RouteError::WrongMethod)
    );
    let lower = Method::from_bytes(b"get").unwrap();
    assert_eq!(route(&lower, FUNCTION, ""), Err(RouteError::WrongMethod));
    let deleted = route(&Method::DELETE, "/2015-03-31/functions/", "");
    assert_eq!(deleted, Err(RouteError::WrongMethod));
}
